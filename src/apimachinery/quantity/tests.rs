use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> String {
    Quantity::parse(text)
        .unwrap_or_else(|e| panic!("{text}: {e}"))
        .to_string()
}

#[test]
fn canonical_forms_have_no_fraction_and_the_largest_suffix() {
    for (text, written) in [
        ("0", "0"),
        ("0m", "0"),
        ("-0", "0"),
        ("0Ki", "0"),
        ("0.0001", "100u"),
        ("1.5", "1500m"),
        ("1500m", "1500m"),
        ("1000m", "1"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1000000k", "1G"),
        ("0.1m", "100u"),
        ("1.5Gi", "1536Mi"),
        ("1024Mi", "1Gi"),
        ("2048Gi", "2Ti"),
        ("0.5Ki", "512"),
        ("0.5Mi", "512Ki"),
        ("0.001Ki", "1024m"),
        ("1023Ki", "1023Ki"),
        ("100e2", "10e3"),
        ("1e3", "1e3"),
        ("1E3", "1E3"),
        ("1e2", "100"),
        ("12e6", "12e6"),
        ("1e-3", "1e-3"),
        ("1E", "1E"),
        ("1000P", "1E"),
        (".5", "500m"),
        ("0.125M", "125k"),
        ("+00.25E5", "25e3"),
        ("5.", "5."),
        ("-1.5Gi", "-1536Mi"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("1.1n", "2n"),
        ("-0.1n", "-1n"),
        ("9223372036854775807", "9223372036854775807"),
        ("10000Ei", "9223372036854775807"),
        ("12000E", "12000E"),
    ] {
        assert_eq!(canonical(text), written, "{text}");
    }
}

#[test]
fn texts_that_look_canonical_are_kept() {
    for text in ["01", "+1", "+1Gi", "1.k", "010m", "100Ki"] {
        assert_eq!(canonical(text), text);
    }
}

#[test]
fn errors_tell_format_from_suffix() {
    for text in ["", "aoeu", "1.1.M", "1+1.0M", " 1", "1 ", "1i1x", "é", "1e1.5"] {
        assert_eq!(Quantity::parse(text), Err(ParseError::Format), "{text}");
    }
    for text in [
        "1i",
        "0.1mi",
        "1Kii",
        "1e",
        "1ki",
        "1e99999999",
        "1GG",
        "-3.01e-",
        "--1",
    ] {
        assert_eq!(Quantity::parse(text), Err(ParseError::Suffix), "{text}");
    }
}

#[test]
fn order_is_that_of_the_numbers() {
    for (small, large) in [
        ("1Ki", "1025"),
        ("999m", "1"),
        ("1k", "1Ki"),
        ("-2", "-1"),
        ("-1", "0"),
        ("0", "1n"),
        ("1e100", "2e100"),
        ("99999999999999999999", "1e90"),
        ("-1e90", "-1"),
        ("9", "10"),
        ("19", "191m191"),
    ] {
        let Ok(large) = Quantity::parse(large) else { continue };
        assert!(Quantity::parse(small).unwrap() < large, "{small} {large}");
    }
    assert_eq!(Quantity::parse("1024Mi"), Quantity::parse("1Gi"));
    assert_eq!(Quantity::parse("1e3"), Quantity::parse("1k"));
}

#[test]
fn sums_take_the_format_of_the_first_that_is_not_zero() {
    let q = |text: &str| Quantity::parse(text).unwrap();
    assert_eq!(q("1Gi").add(&q("512Mi")).to_string(), "1536Mi");
    assert_eq!(q("0").add(&q("1Gi")).to_string(), "1Gi");
    assert_eq!(q("1").add(&q("500m")).to_string(), "1500m");
    assert_eq!(q("1").sub(&q("1500m")).to_string(), "-500m");
    assert_eq!(q("250m").mul(4).to_string(), "1");
}

#[test]
fn values_are_rounded_up() {
    let q = |text: &str| Quantity::parse(text).unwrap();
    assert_eq!(
        (q("1.1").value(), q("-1.1").value(), q("1e100").value()),
        (2, -2, i64::MAX)
    );
    assert_eq!((q("0.1m").milli_value(), q("2").milli_value()), (1, 2000));
    assert!((q("1.5Gi").as_f64() - 1_610_612_736.0).abs() < f64::EPSILON);
}

#[test]
fn json_numbers_are_quantities() {
    use serde_json::json;
    for (value, text) in [
        (json!(2), "2"),
        (json!(0.5), "500m"),
        (json!(" 1Gi "), "1Gi"),
        (json!(null), "0"),
    ] {
        assert_eq!(Quantity::from_json(&value).unwrap().to_string(), text);
    }
    assert!(Quantity::from_json(&json!(true)).is_err());
}

proptest! {
    #[test]
    fn parsing_never_panics_and_writing_keeps_the_number(text in "[-+]?[0-9]{0,20}\\.?[0-9]{0,12}([eE][-+]?[0-9]{0,3}|[numkMGTPE]|[KMGTPE]i)?") {
        if let Ok(quantity) = Quantity::parse(&text) {
            let written = quantity.to_string();
            prop_assert_eq!(Quantity::parse(&written), Ok(quantity), "{}", written);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,12}") {
        let _ = Quantity::parse(&text);
    }

    #[test]
    fn sums_are_exact_and_commute(a in any::<i64>(), b in any::<i64>()) {
        let (x, y) = (Quantity::from_milli(a), Quantity::from_milli(b));
        prop_assert_eq!(x.add(&y), y.add(&x));
        prop_assert_eq!(x.add(&y).sub(&y), x.clone());
        prop_assert_eq!(x.cmp(&y), a.cmp(&b));
    }
}
