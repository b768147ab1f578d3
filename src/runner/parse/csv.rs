//! CSV (RFC 4180), one record a line: a quoted value may hold the delimiter and doubled quotes, but no line end.

use bytes::Bytes;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use logvine_cluster::spec::CsvParseSpec;

use super::{Fields, Kind, Known, Marks, Taken, Wrong};
use crate::record::Body;

#[derive(Debug)]
pub(super) struct Csv {
    /// In its first state; each line takes a copy.
    reader: Reader,
    /// None is passed over.
    columns: Vec<Option<(String, Kind)>>,
    marks: Marks,
}

impl Csv {
    pub(super) fn new(spec: &CsvParseSpec) -> Result<Self, Wrong> {
        let column = |text: &String| {
            let (name, kind) = text.split_once(':').unwrap_or((text, "text"));
            let kind = Kind::of_name(kind).ok_or_else(|| Wrong::new("columns", format!("`{kind}` is not a type: write int, float or bool")))?;
            Ok((!name.is_empty()).then(|| (name.to_owned(), kind)))
        };
        let columns: Vec<_> = spec.columns.iter().map(column).collect::<Result<_, Wrong>>()?;
        let delimiter = u8::try_from(spec.delimiter.unwrap_or(',')).map_err(|_| Wrong::new("delimiter", "must be one ASCII character"))?;
        let has = |field: &str| columns.iter().flatten().any(|(name, _)| name == field);
        let marks = Marks::new(spec.time.as_deref(), spec.time_layout.as_deref(), spec.severity.as_deref(), has)?;
        // A copy of the other kind of automaton has lost its table (csv-core 0.1.13).
        let reader = ReaderBuilder::new().delimiter(delimiter).nfa(true).build();
        Ok(Self { reader, columns, marks })
    }

    pub(super) fn parse(&self, line: &Bytes) -> Taken {
        if line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err("the line has a line end within".to_owned());
        }
        let mut text = vec![0; line.len() + 1];
        // One more than there should be, so that one too many is seen.
        let mut ends = vec![0; self.columns.len() + 2];
        let mut reader = self.reader.clone();
        let (result, _, mut written, mut count) = reader.read_record(line, &mut text, &mut ends);
        if result == ReadRecordResult::InputEmpty {
            let (_, _, more, last) = reader.read_record(&[], &mut text[written..], &mut ends[count..]);
            written += more;
            count += last;
        }
        let wanted = self.columns.len();
        if count != wanted {
            let than = if count > wanted { "more values than" } else { "fewer values than" };
            return Err(format!("the line has {than} the {wanted} columns"));
        }
        let text = String::from_utf8(text[..written].to_vec()).map_err(|_| "not UTF-8")?;
        let mut fields = Fields::new();
        let mut known = Known::default();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        for ((column, start), end) in self.columns.iter().zip(starts).zip(ends.iter().copied()) {
            let (Some((name, kind)), Some(value)) = (column, text.get(start..end)) else { continue };
            // A cell that is to be a number and has nothing in it has no value.
            if value.is_empty() && *kind != Kind::Text {
                continue;
            }
            self.marks.note(&mut known, name, value);
            fields.insert(name.clone(), kind.value(&mut known, name, value));
        }
        Ok((Body::Object(fields), known))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stage(spec: Value) -> Csv {
        Csv::new(&serde_json::from_value(spec).unwrap()).unwrap()
    }

    fn parse(stage: &Csv, line: &[u8]) -> Result<(Value, Known), String> {
        match stage.parse(&Bytes::copy_from_slice(line))? {
            (Body::Object(fields), known) => Ok((fields.into(), known)),
            (other, _) => panic!("{other:?}"),
        }
    }

    #[test]
    fn columns_become_fields_with_their_types() {
        let spec = json!({ "columns": ["at", "level", "", "status:int", "took:float", "ok:bool", "text"], "time": "at", "severity": "level" });
        let (fields, known) = parse(&stage(spec), br#"1795303569,ERROR,passed over,200,0.25,true,"a ""b"", c""#).unwrap();
        let expected = json!({ "at": "1795303569", "level": "ERROR", "status": 200, "took": 0.25, "ok": true, "text": "a \"b\", c" });
        assert_eq!(fields, expected);
        assert_eq!((known.time, known.severity.unwrap().number(), known.error), (Some(1_795_303_569_000_000), 17, None));
    }

    #[test]
    fn an_empty_cell_is_an_empty_text_or_no_number() {
        let stage = stage(json!({ "columns": ["a", "n:int", "b"], "delimiter": ";" }));
        assert_eq!(parse(&stage, b";;").unwrap(), (json!({ "a": "", "b": "" }), Known::default()));
        assert_eq!(parse(&stage, b"1,2;3;\"\"").unwrap().0, json!({ "a": "1,2", "n": 3, "b": "" }));
    }

    #[test]
    fn a_value_of_another_type_is_told_and_kept_as_text() {
        let (fields, known) = parse(&stage(json!({ "columns": ["n:int", "m"] })), b"many,x").unwrap();
        assert_eq!(fields, json!({ "n": "many", "m": "x" }));
        assert!(known.error.unwrap().contains("field `n`: `many` is not of type int"));
    }

    #[test]
    fn lines_of_another_shape_are_refused_with_the_reason() {
        let stage = stage(json!({ "columns": ["a", "b"] }));
        for (line, why) in
            [(&b"1"[..], "fewer"), (b"", "fewer"), (b"1,2,3", "more"), (b"1,2,3,4,5", "more"), (b"\"1,2", "fewer"), (b"\xff,1", "UTF-8")]
        {
            assert!(parse(&stage, line).unwrap_err().contains(why), "{}", String::from_utf8_lossy(line));
        }
    }
}
