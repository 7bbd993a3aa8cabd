//! The federation controllers: observe, validate, plan, apply, report.
