//! Recorded traffic as CSV, one request a row. The first line names the columns:
//! `at_s,input_tokens,output_tokens` and, where known, `stream` (0 or 1), `deployment`,
//! `first_token_ms`, `total_ms`, `status`.

use super::scenario::Scenario;
use shardgate::router::Rng;
use std::io;
use std::path::Path;

/// One request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) at_s: f64,
    pub(crate) input_tokens: f64,
    pub(crate) output_tokens: f64,
    pub(crate) stream: bool,
    /// The deployment that served it when it was recorded.
    pub(crate) deployment: Option<String>,
    pub(crate) first_token_ms: Option<f64>,
    pub(crate) total_ms: Option<f64>,
    pub(crate) status: Option<u16>,
}

/// Reads a recorded trace, sorted by time.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Row>> {
    let text = std::fs::read_to_string(path)?;
    parse(&text).map_err(|why| io::Error::other(format!("{}:{why}", path.display())))
}

fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let (_, head) = lines.next().ok_or("1: the trace is empty")?;
    let columns: Vec<&str> = head.split(',').map(str::trim).collect();
    for needed in ["at_s", "input_tokens", "output_tokens"] {
        if !columns.contains(&needed) {
            return Err(format!("1: the column {needed} is missing"));
        }
    }
    let mut rows = Vec::new();
    for (number, line) in lines {
        let mut row = Row::default();
        for (column, field) in columns.iter().zip(line.split(',').map(str::trim)) {
            fill(&mut row, column, field).map_err(|why| format!("{}: {why}", number + 1))?;
        }
        rows.push(row);
    }
    rows.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    Ok(rows)
}

fn fill(row: &mut Row, column: &str, field: &str) -> Result<(), String> {
    if field.is_empty() {
        return Ok(());
    }
    let number = || {
        let value = field
            .parse::<f64>()
            .ok()
            .filter(|value| value.is_finite() && *value >= 0.0);
        value.ok_or_else(|| format!("{column} must be a number of 0 or more; got {field}"))
    };
    match column {
        "at_s" => row.at_s = number()?,
        "input_tokens" => row.input_tokens = number()?,
        "output_tokens" => row.output_tokens = number()?,
        "stream" => row.stream = number()? != 0.0,
        "deployment" => row.deployment = Some(field.to_owned()),
        "first_token_ms" => row.first_token_ms = Some(number()?),
        "total_ms" => row.total_ms = Some(number()?),
        "status" => row.status = Some(number()? as u16),
        _ => {}
    }
    Ok(())
}

/// Traffic as a scenario describes it.
pub(crate) fn invent(scenario: &Scenario, seed: u64) -> Vec<Row> {
    let traffic = &scenario.traffic;
    let mut rng = Rng::new(seed ^ 0x7261_6666);
    let mut rows = Vec::new();
    let mut at_s = 0.0;
    loop {
        let burst = traffic
            .bursts
            .iter()
            .find(|b| (b.at_s..b.until_s).contains(&at_s));
        let rate = burst.map_or(traffic.per_second, |burst| burst.per_second);
        at_s += -(1.0 - rng.unit()).ln() / rate.max(1e-6);
        if at_s >= scenario.duration_s {
            return rows;
        }
        rows.push(Row {
            at_s,
            input_tokens: traffic.input_tokens.draw(&mut rng).round().max(1.0),
            output_tokens: traffic.output_tokens.draw(&mut rng).round().max(1.0),
            stream: rng.unit() < traffic.streams,
            ..Row::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there() {
        let rows = parse("at_s,output_tokens,input_tokens,status,other\n2,5,7,500,x\n1,1,1,,\n");
        let rows = rows.expect("a trace");
        assert_eq!((rows[0].at_s, rows[0].status), (1.0, None));
        assert_eq!((rows[1].input_tokens, rows[1].status), (7.0, Some(500)));
    }

    #[test]
    fn says_which_line_is_wrong() {
        let check = |text: &str, why: &str| assert_eq!(parse(text).expect_err("wrong"), why);
        check("", "1: the trace is empty");
        check(
            "at_s,input_tokens\n",
            "1: the column output_tokens is missing",
        );
        let text = "at_s,input_tokens,output_tokens\n1,2,3\n1,x,3\n";
        check(text, "3: input_tokens must be a number of 0 or more; got x");
    }
}
