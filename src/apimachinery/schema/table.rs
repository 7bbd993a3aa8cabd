//! Reads the tables.
//!
//! The tables are part of the program, so a line that cannot be read is a mistake of ours:
//! tests read both tables, and [`Builder::problems`] makes them fail.

use std::collections::HashMap;

use super::{Field, ListType, Number, PatchStrategy, Schema, Shape, Type, TypeId};

#[derive(Default)]
pub(super) struct Builder {
    types: Vec<Type>,
    by_name: HashMap<&'static str, TypeId>,
    kinds: Vec<(&'static str, &'static str, &'static str)>,
    current: usize,
    pub(super) problems: Vec<String>,
}

impl Builder {
    /// Adds the types and kinds of a table.
    pub(super) fn read(&mut self, text: &'static str) {
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let known = match words.next() {
                None => continue,
                Some(word) if word.starts_with('#') => continue,
                Some("kind") => self.kind(words),
                Some("type") => self.open_type(words),
                Some("f") => self.field(words),
                Some(_) => None,
            };
            if known.is_none() {
                self.problems.push(line.to_owned());
            }
        }
    }

    /// The schema of everything read.
    pub(super) fn finish(mut self) -> Schema {
        for ty in &mut self.types {
            ty.numbers = ty
                .fields
                .iter()
                .enumerate()
                .map(|(at, field)| (field.number, at))
                .collect();
            ty.wire_order = (0..ty.fields.len()).collect();
            ty.wire_order.sort_by_key(|at| match ty.fields[*at].number {
                Number::Absent => (0, 0),
                Number::Direct(number) => (number, 0),
                Number::Nested(outer, number) => (outer, number),
            });
        }
        let kinds: Vec<_> = self
            .kinds
            .iter()
            .filter_map(|(gv, kind, name)| Some((*gv, *kind, *self.by_name.get(name)?)))
            .collect();
        let by_kind = kinds.iter().map(|(gv, kind, id)| ((*gv, *kind), *id)).collect();
        Schema {
            types: self.types,
            by_name: self.by_name,
            by_kind,
            kinds,
        }
    }

    fn kind(&mut self, mut words: impl Iterator<Item = &'static str>) -> Option<()> {
        self.kinds.push((words.next()?, words.next()?, words.next()?));
        Some(())
    }

    fn id(&mut self, name: &'static str) -> TypeId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = TypeId(u32::try_from(self.types.len()).unwrap_or(u32::MAX));
        self.types.push(Type {
            name,
            atomic: false,
            fields: Vec::new(),
            index: HashMap::new(),
            numbers: HashMap::new(),
            wire_order: Vec::new(),
        });
        self.by_name.insert(name, id);
        id
    }

    fn open_type(&mut self, mut words: impl Iterator<Item = &'static str>) -> Option<()> {
        let id = self.id(words.next()?);
        self.current = id.0 as usize;
        for word in words {
            match word {
                "struct=atomic" => self.types[self.current].atomic = true,
                _ => return None,
            }
        }
        Some(())
    }

    fn shape(&mut self, text: &'static str) -> Shape {
        if let Some(inner) = text.strip_prefix("[]") {
            return Shape::List(Box::new(self.shape(inner)));
        }
        if let Some(inner) = text.strip_prefix("{}") {
            return Shape::Map(Box::new(self.shape(inner)));
        }
        match text {
            "string" => Shape::String,
            "bool" => Shape::Bool,
            "i32" => Shape::I32,
            "i64" => Shape::I64,
            "f64" => Shape::F64,
            "bytes" => Shape::Bytes,
            "quantity" => Shape::Quantity,
            "intorstring" => Shape::IntOrString,
            "time" => Shape::Time,
            "microtime" => Shape::MicroTime,
            "duration" => Shape::Duration,
            "any" => Shape::Any,
            "fieldsv1" => Shape::FieldsV1,
            "strings" => Shape::Strings,
            name => Shape::Struct(self.id(name)),
        }
    }

    fn field(&mut self, mut words: impl Iterator<Item = &'static str>) -> Option<()> {
        let name = words.next()?;
        let number = number(words.next()?)?;
        let shape = words.next()?;
        let mut field = Field {
            name,
            number,
            shape: self.shape(shape),
            required: false,
            pointer: false,
            always: false,
            patch: PatchStrategy::default(),
            merge_key: None,
            list: None,
            list_keys: Vec::new(),
            map_atomic: false,
            struct_atomic: false,
            struct_granular: false,
            default: None,
            values: Vec::new(),
            go: None,
        };
        for word in words {
            attribute(&mut field, word)?;
        }
        let ty = &mut self.types[self.current];
        ty.index.insert(name, ty.fields.len());
        ty.fields.push(field);
        Some(())
    }
}

fn number(text: &str) -> Option<Number> {
    if let Some((outer, inner)) = text.split_once('.') {
        return Some(Number::Nested(outer.parse().ok()?, inner.parse().ok()?));
    }
    match text.parse().ok()? {
        0 => Some(Number::Absent),
        number => Some(Number::Direct(number)),
    }
}

fn attribute(field: &mut Field, word: &'static str) -> Option<()> {
    match word.split_once('=') {
        None => match word {
            "req" => field.required = true,
            "ptr" => field.pointer = true,
            "always" => field.always = true,
            _ => return None,
        },
        Some(("patch", value)) => {
            for part in value.split(',') {
                match part {
                    "merge" => field.patch.merge = true,
                    "retainKeys" => field.patch.retain_keys = true,
                    "replace" => {}
                    _ => return None,
                }
            }
        }
        Some(("key", value)) => field.merge_key = Some(value),
        Some(("list", "atomic")) => field.list = Some(ListType::Atomic),
        Some(("list", "set")) => field.list = Some(ListType::Set),
        Some(("list", value)) => {
            field.list = Some(ListType::Map);
            field.list_keys = value.strip_prefix("map:")?.split(',').collect();
        }
        Some(("map", "atomic")) => field.map_atomic = true,
        Some(("struct", "atomic")) => field.struct_atomic = true,
        Some(("struct", "granular")) => field.struct_granular = true,
        Some(("map", "granular")) => {}
        Some(("default", value)) => field.default = Some(serde_json::from_str(value).ok()?),
        Some(("enum", value)) => field.values = value.split('|').filter(|v| !v.is_empty()).collect(),
        Some(("go", value)) => field.go = Some(value),
        Some(_) => return None,
    }
    Some(())
}
