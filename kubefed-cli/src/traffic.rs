//! `kubefed traffic`: who would be served where, computed offline from a scenario file.

use std::{
    io::{Read as _, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use traffic::scenario::{self, Answer, Scenario};

/// Computes which clusters would serve which clients, with the load balancer's own algorithm and without any cluster.
///
/// The scenario is YAML or JSON:
///
///   clusters: [{name, latitude, longitude, healthy, total, capacityPerEndpoint, capacity, scaler, ramp, state}]
///   origins:  [{name, demand, tiers: [["eu"], ["us"]]}]     # or latitude and longitude instead of tiers
///   options:  {overprovisioning: 1.4, overload: spread|shed, panic: nearest|fail, tieKm: 100,
///              drainBelow: 0.25, restoreAt: 0.35, previouslyDrained: []}
#[derive(Debug, Clone, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct TrafficArgs {
    /// The scenario file; `-` is standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    filename: PathBuf,
    /// How the answer is printed.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Output {
    /// One line per origin and cluster.
    Table,
    /// `{"shares":…,"shed":…,"flags":[…]}`.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Reads the scenario, computes it and prints the answer.
///
/// # Errors
/// When the file cannot be read or makes no sense.
pub(crate) fn run(args: TrafficArgs) -> anyhow::Result<()> {
    let text = if args.filename.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read the scenario from standard input")?;
        text
    } else {
        std::fs::read_to_string(&args.filename)
            .with_context(|| format!("cannot read the scenario {}", args.filename.display()))?
    };
    let answer = compute(&text).with_context(|| format!("cannot compute the scenario {}", args.filename.display()))?;
    let printed = print(&answer, args.output)?;
    std::io::stdout()
        .write_all(printed.as_bytes())
        .context("cannot print the answer")
}

/// JSON is YAML, so one parser reads both.
fn compute(text: &str) -> anyhow::Result<Answer> {
    let scenario: Scenario = serde_saphyr::from_str(text)?;
    Ok(scenario::run(&scenario)?)
}

fn print(answer: &Answer, output: Output) -> anyhow::Result<String> {
    Ok(match output {
        Output::Json => serde_json::to_string(answer)? + "\n",
        Output::Yaml => serde_saphyr::to_string(answer)?,
        Output::Table => table(answer),
    })
}

fn table(answer: &Answer) -> String {
    let mut rows = vec![["ORIGIN".to_owned(), "CLUSTER".to_owned(), "SHARE".to_owned()]];
    let percent = |part: &serde_json::Value| format!("{:.1}%", part.as_f64().unwrap_or_default() * 100.0);
    for (origin, shares) in &answer.shares {
        let shares = shares.as_object().into_iter().flatten();
        rows.extend(shares.map(|(cluster, part)| [origin.clone(), cluster.clone(), percent(part)]));
        if let Some(shed) = answer.shed.get(origin).filter(|shed| shed.as_f64() > Some(0.0)) {
            rows.push([origin.clone(), "<refused>".to_owned(), percent(shed)]);
        }
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let (first, second) = (width(0), width(1));
    let mut text: String = rows
        .iter()
        .map(|[origin, cluster, share]| format!("{origin:first$}   {cluster:second$}   {share}\n"))
        .collect();
    if !answer.flags.is_empty() {
        text += &format!("\nFlags: {}\n", answer.flags.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: &str = "
clusters:
- {name: eu, healthy: 1, total: 1, capacityPerEndpoint: 100}
- {name: us, healthy: 1, total: 1, capacityPerEndpoint: 100}
origins:
- {name: LON, demand: 300, tiers: [[eu],[us]]}
- {name: NYC, demand: 50, tiers: [[us],[eu]]}
options: {overload: shed}
";

    #[test]
    fn a_yaml_scenario_gives_the_documented_json() {
        let answer = compute(SCENARIO).expect("a valid scenario");
        let json = print(&answer, Output::Json).expect("printable");
        assert_eq!(
            json,
            "{\"shares\":{\"LON\":{\"eu\":0.333333333,\"us\":0.166666667},\"NYC\":{\"us\":1.0}},\"shed\":{\"LON\":0.5,\"NYC\":0.0},\"flags\":[\"overload\"]}\n"
        );
    }

    #[test]
    fn json_scenarios_are_read_as_well() {
        let answer = compute(r#"{"clusters": [{"name": "a"}], "origins": [{"name": "o"}]}"#).expect("a valid scenario");
        assert_eq!(answer.shares["o"]["a"], 1.0);
    }

    #[test]
    fn the_table_names_what_is_refused() {
        let text = print(&compute(SCENARIO).expect("a valid scenario"), Output::Table).expect("printable");
        assert!(text.contains("LON      <refused>   50.0%"), "{text}");
        assert!(text.ends_with("\nFlags: overload\n"), "{text}");
    }

    #[test]
    fn an_unknown_field_is_an_error_that_names_it() {
        let error = compute("clusters: [{name: a, helthy: 3}]\norigins: []").expect_err("a typo");
        assert!(format!("{error:#}").contains("helthy"), "{error:#}");
    }
}
