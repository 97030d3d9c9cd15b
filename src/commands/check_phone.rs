//! `check-phone`: what a number would be dialled as, or why it would not be.

use std::io::{self, BufRead, BufWriter, Write};

use clap::Args as ClapArgs;
use serde::Serialize;
use serde_json::json;

use crate::domain::csv_cell::escape;
use crate::domain::phone::{CallAlso, Costly, PhoneParser, PhoneProblem};
use crate::domain::region::{Region, RegionProblem};
use crate::domain::zone::Zones;
use crate::domain::zone::number_plan::PlanZones;
use crate::error::{Exit, Failure};
use crate::output::{Format, Printer, Rows};

/// A line is read no further than this many bytes; the rest up to its end is passed over.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// Arguments of `check-phone`.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  callops check-phone +18022236942
  callops check-phone --region US '802-223-6942 x1' 911
  callops check-phone --region DE --call-also shared_cost '0180 1 123456'
  cut -d, -f3 list.csv | callops check-phone --region DE --format jsonl -

zones: where the number can be by its number plan; a contact without a given zone is called by these clocks.")]
pub struct Args {
    /// Country that numbers without a country code belong to (ISO 3166, such as US)
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Take these classes too, as a tenant with this `call_also` does: `premium_rate`, `shared_cost`
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    pub call_also: Vec<Costly>,
    /// Numbers as people write them; `-` reads them from standard input, one per line
    #[arg(required = true, value_name = "PHONE")]
    pub phones: Vec<String>,
}

/// One checked input. The field names are an API.
#[derive(Serialize)]
struct Checked<'a> {
    input: &'a str,
    e164: Option<&'a str>,
    extension: Option<&'a str>,
    reason: Option<&'static str>,
    zones: Option<Zones>,
}

const COLUMNS: [&str; 5] = ["input", "e164", "extension", "reason", "zones"];

/// How numbers are read.
struct Reader {
    parser: PhoneParser,
    region: Option<Region>,
    also: CallAlso,
}

/// Checks every number and says so on stdout, one result per input in order.
///
/// # Errors
/// A region that is none (exit 2); a standard input or output that breaks. Numbers that cannot be dialled are no
/// error: the exit is then [`Exit::Partial`].
pub fn run(printer: &Printer, args: &Args) -> anyhow::Result<Exit> {
    let region = args.region.as_deref().map(region_option).transpose()?;
    let also = args.call_also.iter().copied().collect();
    let reader = Reader { parser: PhoneParser::new(), region, also };
    if !args.phones.iter().any(|phone| phone == "-") && printer.format() != Format::Jsonl {
        return listed(printer, &reader, &args.phones);
    }
    let mut sink = Sink::new(printer.format(), BufWriter::with_capacity(1 << 16, io::stdout().lock()))?;
    for phone in &args.phones {
        if phone == "-" {
            stream(&reader, &mut io::stdin().lock(), &mut sink)?;
        } else {
            check(&reader, phone, |checked| sink.write(checked))?;
        }
    }
    Ok(sink.finish()?)
}

/// Reads the value of `--region`, for every command that has one.
///
/// # Errors
/// A usage error that names the value, with the region that was probably meant.
pub fn region_option(value: &str) -> anyhow::Result<Region> {
    value.parse().map_err(|problem: RegionProblem| {
        let hint = match problem.suggestion {
            Some(region) => format!("did you mean `--region {region}`?"),
            None => "examples: --region US, --region GB, --region DE".to_owned(),
        };
        Failure::usage(problem.to_string()).hint(hint).into()
    })
}

fn listed(printer: &Printer, reader: &Reader, phones: &[String]) -> anyhow::Result<Exit> {
    let mut rows = Rows::new(&COLUMNS);
    let mut exit = Exit::Success;
    for phone in phones {
        check(reader, phone, |checked| {
            if checked.reason.is_some() {
                exit = Exit::Partial;
            }
            let zones = match printer.format() {
                Format::Json => json!(checked.zones),
                _ => json!(checked.zones.as_ref().map(Zones::summary)),
            };
            let [e164, extension, reason] = [checked.e164, checked.extension, checked.reason].map(Into::into);
            rows.push(vec![checked.input.into(), e164, extension, reason, zones]);
            Ok(())
        })?;
    }
    printer.rows(&rows)?;
    Ok(exit)
}

fn check(reader: &Reader, input: &str, then: impl FnOnce(&Checked<'_>) -> io::Result<()>) -> io::Result<()> {
    match reader.parser.parse(input, reader.region, reader.also) {
        Ok(parsed) => then(&Checked {
            input,
            e164: Some(parsed.phone.as_str()),
            extension: parsed.extension.as_deref(),
            reason: None,
            zones: PlanZones::of(parsed.phone.as_str()).and_then(PlanZones::zones),
        }),
        Err(problem) => then(&refused(input, problem.code())),
    }
}

fn refused<'a>(input: &'a str, reason: &'static str) -> Checked<'a> {
    Checked { input, e164: None, extension: None, reason: Some(reason), zones: None }
}

/// Checks line by line, holding one line at a time.
fn stream(reader: &Reader, input: &mut dyn BufRead, sink: &mut Sink<impl Write>) -> io::Result<()> {
    let mut line = Vec::new();
    let mut first = true;
    loop {
        line.clear();
        let Some(whole) = read_line(input, &mut line)? else { return Ok(()) };
        let mut bytes = line.as_slice();
        if std::mem::take(&mut first) {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        match std::str::from_utf8(bytes) {
            _ if !whole => {
                sink.write(&refused(&String::from_utf8_lossy(bytes), PhoneProblem::NotANumber.code()))?;
            }
            Ok(text) => check(reader, text, |checked| sink.write(checked))?,
            Err(_) => sink.write(&refused(&String::from_utf8_lossy(bytes), "not_utf8"))?,
        }
    }
}

/// Reads a line without its end; false where it was longer than [`MAX_LINE_BYTES`] and cut, none at the end.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let mut whole = true;
    let mut any = false;
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(any.then_some(whole));
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        let room = MAX_LINE_BYTES - line.len();
        whole &= part.len() <= room;
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = end.map_or(buffer.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}

/// Writes results as they come, in a format whose lines do not depend on later ones.
struct Sink<W: Write> {
    format: Format,
    out: W,
    written: u64,
    refused: u64,
}

impl<W: Write> Sink<W> {
    fn new(format: Format, mut out: W) -> io::Result<Self> {
        match format {
            Format::Csv => writeln!(out, "{}", COLUMNS.join(","))?,
            Format::Table => {
                writeln!(out, "{:<16}  {:<9}  {:<20}  {:<30}  input", "e164", "extension", "reason", "zones")?;
            }
            Format::Json => out.write_all(b"[")?,
            Format::Jsonl => {}
        }
        Ok(Self { format, out, written: 0, refused: 0 })
    }

    fn write(&mut self, checked: &Checked<'_>) -> io::Result<()> {
        match self.format {
            Format::Jsonl => {
                serde_json::to_writer(&mut self.out, checked).map_err(io::Error::from)?;
                self.out.write_all(b"\n")?;
            }
            Format::Json => {
                self.out.write_all(if self.written == 0 { b"\n  " } else { b",\n  " })?;
                serde_json::to_writer(&mut self.out, checked).map_err(io::Error::from)?;
            }
            Format::Csv => {
                let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(&mut self.out);
                let zones = checked.zones.as_ref().map(Zones::summary);
                let [e164, extension, reason] =
                    [checked.e164, checked.extension, checked.reason].map(Option::unwrap_or_default);
                csv.write_record([
                    escape(checked.input).as_ref(),
                    e164,
                    extension,
                    reason,
                    zones.as_deref().unwrap_or_default(),
                ])
                .map_err(io::Error::other)?;
                csv.flush()?;
            }
            Format::Table => writeln!(
                self.out,
                "{:<16}  {:<9}  {:<20}  {:<30}  {}",
                checked.e164.unwrap_or_default(),
                checked.extension.unwrap_or_default(),
                checked.reason.unwrap_or_default(),
                checked.zones.as_ref().map(Zones::summary).unwrap_or_default(),
                checked.input.replace(|c: char| c.is_control(), " ")
            )?,
        }
        self.written += 1;
        self.refused += u64::from(checked.reason.is_some());
        Ok(())
    }

    fn finish(mut self) -> io::Result<Exit> {
        if self.format == Format::Json {
            self.out.write_all(if self.written == 0 { b"]\n" } else { b"\n]\n" })?;
        }
        self.out.flush()?;
        Ok(if self.refused == 0 { Exit::Success } else { Exit::Partial })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streamed(format: Format, input: &[u8]) -> (String, Exit) {
        let mut out = Vec::new();
        let mut sink = Sink::new(format, &mut out).unwrap();
        let region = Some("US".parse().unwrap());
        let us = Reader { parser: PhoneParser::new(), region, also: CallAlso::default() };
        // A reader with a tiny buffer, so that lines span several fills.
        let mut reader = io::BufReader::with_capacity(7, input);
        stream(&us, &mut reader, &mut sink).unwrap();
        let exit = sink.finish().unwrap();
        (String::from_utf8(out).unwrap(), exit)
    }

    #[test]
    fn every_line_has_one_answer_in_order() {
        let (out, exit) = streamed(Format::Jsonl, b"\xef\xbb\xbf802-223-6942 x1\r\n\n+49302270123.0\nxx\xff\n911");
        assert_eq!(
            out,
            "{\"input\":\"802-223-6942 x1\",\"e164\":\"+18022236942\",\"extension\":\"1\",\"reason\":null,\
             \"zones\":[\"America/New_York\"]}\n\
             {\"input\":\"\",\"e164\":null,\"extension\":null,\"reason\":\"no_phone\",\"zones\":null}\n\
             {\"input\":\"+49302270123.0\",\"e164\":\"+49302270123\",\"extension\":null,\"reason\":null,\
             \"zones\":[\"Europe/Berlin\"]}\n\
             {\"input\":\"xx\u{fffd}\",\"e164\":null,\"extension\":null,\"reason\":\"not_utf8\",\"zones\":null}\n\
             {\"input\":\"911\",\"e164\":null,\"extension\":null,\"reason\":\"short_or_emergency\",\"zones\":null}\n"
        );
        assert_eq!(exit, Exit::Partial);
    }

    #[test]
    fn each_format_streams_whole_documents() {
        let input = b"802-223-6942\n802-265-3610\n";
        let (json, exit) = streamed(Format::Json, input);
        assert_eq!(exit, Exit::Success);
        let list: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(list[1]["e164"], "+18022653610");
        assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&streamed(Format::Json, b"").0).unwrap().len(), 0);
        let (csv, _) = streamed(Format::Csv, b"802-223-6942\n\"a, b\"\n");
        let header = "input,e164,extension,reason,zones\n";
        assert_eq!(
            csv,
            format!("{header}802-223-6942,+18022236942,,,America/New_York\n\"\"\"a, b\"\"\",,,not_a_number,\n")
        );
        let (csv, _) = streamed(Format::Csv, b"=1+1\n+18022236942\n");
        assert_eq!(csv, format!("{header}'=1+1,,,too_short,\n+18022236942,+18022236942,,,America/New_York\n"));
    }

    #[test]
    fn a_line_without_end_is_cut_and_refused() {
        let mut long = vec![b'8'; MAX_LINE_BYTES * 3];
        long.extend_from_slice(b"\n802-223-6942\n");
        let (out, _) = streamed(Format::Jsonl, &long);
        let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["input"].as_str().unwrap().len(), MAX_LINE_BYTES);
        assert_eq!(lines[1]["e164"], "+18022236942");
    }

    #[test]
    fn a_region_that_is_none_is_a_usage_error_with_a_suggestion() {
        let error = region_option("USA").unwrap_err();
        assert_eq!(crate::error::classify(&error), Exit::Usage);
        assert!(error.to_string().contains("`USA`"));
        assert_eq!(crate::error::hints(&error), ["did you mean `--region US`?"]);
    }
}
