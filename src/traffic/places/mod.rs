//! Where well-known places are: cloud regions, countries, continents.
//!
//! The tables are facts (a provider's own statement of a region's city, or a country's middle), rounded to
//! a tenth of a degree or so: they order clusters and clients by distance, nothing more.

mod continents;
mod countries;
mod regions;

use crate::geo::Point;

/// Where a cloud region lies. Accepts a GCP, AWS or Azure region name (`europe-west1`, `eu-west-1`, `westeurope`)
/// and a zone of one (`europe-west1-b`, `eu-west-1a`, `westeurope-1`), in any case.
pub fn region(name: &str) -> Option<Point> {
    let name = name.trim().to_ascii_lowercase();
    lookup_region(&name).or_else(|| {
        let without_letter = name.strip_suffix(|c: char| c.is_ascii_lowercase());
        let without_part = name.rsplit_once('-').map(|(region, _)| region);
        without_part
            .and_then(lookup_region)
            .or_else(|| without_letter.and_then(lookup_region))
    })
}

fn lookup_region(name: &str) -> Option<Point> {
    [regions::GCP, regions::AWS, regions::AZURE]
        .iter()
        .find_map(|table| table.iter().find(|(region, ..)| *region == name))
        .map(|&(_, latitude, longitude)| Point::new(latitude, longitude))
}

/// The middle of a country by its ISO 3166-1 alpha-2 code, in any case.
pub fn country(code: &str) -> Option<Point> {
    let code: [u8; 2] = code.as_bytes().try_into().ok()?;
    let code = code.map(|byte| byte.to_ascii_uppercase());
    let index = countries::TABLE
        .binary_search_by(|(known, ..)| known.as_bytes().cmp(&code[..]))
        .ok()?;
    let (_, latitude, longitude) = countries::TABLE[index];
    Some(Point::new(latitude, longitude))
}

/// A point that stands for a continent by GeoNames' code (`AF`, `AN`, `AS`, `EU`, `NA`, `OC`, `SA`): where its clients mostly are.
pub fn continent(code: &str) -> Option<Point> {
    continents::TABLE
        .iter()
        .find(|(known, ..)| known.eq_ignore_ascii_case(code))
        .map(|&(_, latitude, longitude)| Point::new(latitude, longitude))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_row_is_on_the_earth_and_unique() {
        for table in [regions::GCP, regions::AWS, regions::AZURE] {
            for (index, (name, latitude, longitude)) in table.iter().enumerate() {
                assert!(Point::checked(*latitude, *longitude).is_some(), "{name}");
                assert!(table[..index].iter().all(|(other, ..)| other != name), "{name} twice");
            }
        }
        for pair in countries::TABLE.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} out of order", pair[1].0);
        }
        for (name, latitude, longitude) in countries::TABLE.iter().chain(continents::TABLE) {
            assert!(Point::checked(*latitude, *longitude).is_some(), "{name}");
        }
    }

    #[test]
    fn regions_of_three_clouds_and_their_zones_are_known() {
        assert_eq!(region("europe-west1"), Some(Point::new(50.47, 3.82)));
        assert_eq!(region("europe-west1-c"), region("europe-west1"));
        assert_eq!(region("US-East1-b"), region("us-east1"));
        assert_eq!(region("eu-central-1a"), region("eu-central-1"));
        assert_eq!(region("westeurope-2"), region("westeurope"));
        assert_eq!(region("us-west-2-lax-1a"), None);
        assert_eq!(region("moon-north1"), None);
    }

    #[test]
    fn countries_and_continents_are_found_in_any_case() {
        assert!(country("be").expect("Belgium").distance_km(Point::new(50.6, 4.6)) < 100.0);
        assert_eq!(country("XX"), None);
        assert_eq!(country("BEL"), None);
        assert!(continent("eu").is_some());
        assert_eq!(continent("ATLANTIS"), None);
    }
}
