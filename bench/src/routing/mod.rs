//! The routing lab: simulated deployments, real policies, virtual time. It runs every strategy on
//! a scenario or a recorded trace and says what users would have waited, and what it would have
//! cost. It links the very router that the gateway runs.

mod behaviour;
mod own;
mod plot;
mod report;
mod scenario;
mod trace;
mod world;

use report::Report;
use scenario::Scenario;
use shardgate::router::RouterSpec;
use shardgate::router::strategy::STRATEGIES;
use std::io::{self, Write};
use std::path::PathBuf;
use trace::Row;

/// The name under which the run with perfect foresight is reported.
const ORACLE: &str = "(oracle)";

/// Which strategy should I choose?
#[derive(clap::Args)]
pub(crate) struct RoutingArguments {
    /// Scenario files, or folders of them.
    #[arg(default_value = "bench/scenarios")]
    scenarios: Vec<PathBuf>,
    /// Your own config.yaml in place of scenarios.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The model group of that config; the largest if not given.
    #[arg(long, requires = "config")]
    group: Option<String>,
    /// Only these strategies.
    #[arg(long)]
    strategy: Vec<String>,
    /// Recorded traffic as CSV, in place of the scenario's own. Rows that name a deployment also
    /// teach how it behaves.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Shards that share the traffic.
    #[arg(long, default_value_t = 2)]
    shards: usize,
    /// The same seed gives the same results.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write a JSON file and a plot for each scenario.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What is run: a scenario, and the router's entries where they come from elsewhere.
struct Subject {
    scenario: Scenario,
    spec: Option<RouterSpec>,
}

impl Subject {
    fn spec(&self, strategy: &str) -> RouterSpec {
        let Some(mut spec) = self.spec.clone() else {
            return self.scenario.spec(strategy);
        };
        spec.settings.strategy = strategy.to_owned();
        spec
    }
}

/// Runs the lab and prints its tables.
pub(crate) fn run(arguments: &RoutingArguments) -> io::Result<()> {
    let trace = arguments.trace.as_deref().map(trace::read).transpose()?;
    for mut subject in subjects(arguments)? {
        let rows = match &trace {
            Some(rows) => adopt(&mut subject.scenario, rows),
            None => trace::invent(&subject.scenario, arguments.seed),
        };
        let (report, runs) = compare(&subject, &rows, arguments)?;
        io::stdout().write_all(report.table().as_bytes())?;
        if let Some(folder) = &arguments.out {
            write(folder, &subject.scenario, &report, &runs)?;
        }
    }
    Ok(())
}

fn subjects(arguments: &RoutingArguments) -> io::Result<Vec<Subject>> {
    if let Some(path) = &arguments.config {
        let (scenario, spec) = own::read(path, arguments.group.as_deref())?;
        return Ok(vec![Subject {
            scenario,
            spec: Some(spec),
        }]);
    }
    let scenarios = files(&arguments.scenarios)?;
    let read = |path: PathBuf| {
        Ok(Subject {
            scenario: Scenario::read(&path)?,
            spec: None,
        })
    };
    scenarios.into_iter().map(read).collect()
}

fn write(
    folder: &std::path::Path,
    scenario: &Scenario,
    report: &Report,
    runs: &[plot::Run],
) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let json = serde_json::to_string_pretty(report).map_err(io::Error::other)?;
    std::fs::write(folder.join(format!("{}.json", scenario.name)), json + "\n")?;
    let plot = plot::svg(scenario, report, runs);
    std::fs::write(folder.join(format!("{}.svg", scenario.name)), plot)
}

fn files(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let entries = std::fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
            let scenarios = entries.into_iter().map(|entry| entry.path());
            files.extend(scenarios.filter(|p| p.extension().is_some_and(|e| e == "json")));
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    if files.is_empty() {
        Err(io::Error::other("no scenario found"))
    } else {
        Ok(files)
    }
}

/// Takes over a recorded trace: its length, and what it teaches about the deployments it names.
fn adopt(scenario: &mut Scenario, rows: &[Row]) -> Vec<Row> {
    scenario.duration_s = rows.last().map_or(1.0, |row| row.at_s + 1.0);
    for deployment in &mut scenario.deployments {
        let own: Vec<&Row> = rows
            .iter()
            .filter(|row| row.deployment.as_ref() == Some(&deployment.id))
            .collect();
        behaviour::learn(deployment, &own);
    }
    rows.to_vec()
}

fn compare(
    subject: &Subject,
    rows: &[Row],
    arguments: &RoutingArguments,
) -> io::Result<(Report, Vec<plot::Run>)> {
    let scenario = &subject.scenario;
    let names = strategies(&arguments.strategy)?;
    let simulate = |strategy: &str, oracle: bool| {
        world::run(world::Setup {
            deployments: &scenario.deployments,
            spec: subject.spec(strategy),
            rows,
            shards: arguments.shards.max(1),
            seed: arguments.seed,
            oracle,
        })
    };
    let mut runs = vec![(ORACLE.to_owned(), simulate("custom", true))];
    runs.extend(
        names
            .iter()
            .map(|name| ((*name).to_owned(), simulate(name, false))),
    );
    let oracle = &runs[0].1;
    let results = runs
        .iter()
        .map(|(name, run)| report::sum_up(scenario, name, run, oracle));
    let report = Report {
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        seed: arguments.seed,
        shards: arguments.shards,
        results: results.collect(),
    };
    Ok((report, runs))
}

/// The strategies to run: all but `custom`, which is the user's own.
fn strategies(wanted: &[String]) -> io::Result<Vec<&'static str>> {
    let all = STRATEGIES
        .iter()
        .map(|strategy| strategy.name())
        .filter(|name| *name != "custom");
    let known: Vec<&'static str> = all.collect();
    if wanted.is_empty() {
        return Ok(known);
    }
    let find = |name: &String| {
        let found = known.iter().find(|known| *known == name).copied();
        found.ok_or_else(|| {
            io::Error::other(format!(
                "{name} is not a strategy; known: {}",
                known.join(", ")
            ))
        })
    };
    wanted.iter().map(find).collect()
}

/// Reads every scenario of a folder. For tests.
#[cfg(test)]
fn all_of(folder: &std::path::Path) -> Vec<Scenario> {
    let files = files(&[folder.to_path_buf()]).expect("scenarios");
    files
        .iter()
        .map(|path| Scenario::read(path).expect("a scenario"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> RoutingArguments {
        RoutingArguments {
            scenarios: Vec::new(),
            config: None,
            group: None,
            strategy: Vec::new(),
            trace: None,
            shards: 2,
            seed: 7,
            out: None,
        }
    }

    fn folder() -> PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
    }

    #[test]
    fn every_scenario_runs_and_the_same_seed_gives_the_same_results() {
        for mut scenario in all_of(&folder()) {
            scenario.duration_s = scenario.duration_s.min(60.0);
            let rows = trace::invent(&scenario, 7);
            let subject = Subject {
                scenario,
                spec: None,
            };
            let (first, runs) = compare(&subject, &rows, &arguments()).expect("results");
            let (second, _) = compare(&subject, &rows, &arguments()).expect("results");
            assert_eq!(first.table(), second.table());
            assert!(runs.iter().all(|(_, served)| served.len() == rows.len()));
            assert!(plot::svg(&subject.scenario, &first, &runs).ends_with("</svg>\n"));
        }
    }

    #[test]
    fn an_unknown_strategy_is_named_with_the_known_ones() {
        let error = strategies(&[String::from("fastest")]).expect_err("unknown");
        assert!(error.to_string().contains("latency-based-routing"));
    }
}
