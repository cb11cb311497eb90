//! The user's own config.yaml as the lab's subject: its deployments, limits, prices and router
//! settings, read the way the gateway reads them. How the deployments behave has to come from a
//! recorded trace; without one all behave alike.

use super::scenario::{Deployment, GROUP, Scenario, Spread, Traffic};
use shardgate::coordinator::Lasting;
use shardgate::router::{DeploymentSpec, RouterSpec};
use shardgate::snapshot;
use std::io;
use std::path::Path;

/// Reads a configuration and picks a group: the one named, else the largest.
pub(crate) fn read(path: &Path, group: Option<&str>) -> io::Result<(Scenario, RouterSpec)> {
    let wrong = |lines: Vec<String>| io::Error::other(lines.join("\n"));
    let env = |name: &str| std::env::var(name).ok();
    let loaded = shardgate_config::load(path, &env, shardgate_config::Options::default())
        .map_err(|all| wrong(all.iter().map(ToString::to_string).collect()))?;
    let snapshot = snapshot::build(&loaded.config, &Lasting::new(1), 1).map_err(wrong)?;
    let groups = snapshot.router.groups();
    let largest = || groups.iter().max_by_key(|group| group.deployments.len());
    let found = match group {
        Some(name) => groups.iter().find(|group| &*group.name == name),
        None => largest(),
    };
    let Some(found) = found else {
        return Err(wrong(vec![format!(
            "{} has no such model group",
            path.display()
        )]));
    };
    let members = found
        .deployments
        .iter()
        .map(|ix| snapshot.router.deployment(*ix).spec.clone());
    let deployments: Vec<DeploymentSpec> = members
        .map(|spec| DeploymentSpec {
            group: GROUP.to_owned(),
            ..spec
        })
        .collect();
    let scenario = Scenario {
        name: found
            .name
            .replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
        about: format!("the group {} of {}", found.name, path.display()),
        duration_s: 600.0,
        traffic: traffic(),
        deployments: deployments.iter().map(behaviour).collect(),
        settings: super::scenario::Settings::default(),
    };
    let settings = snapshot.router.settings().clone();
    Ok((
        scenario,
        RouterSpec {
            deployments,
            aliases: Vec::new(),
            settings,
        },
    ))
}

fn traffic() -> Traffic {
    Traffic {
        per_second: 10.0,
        bursts: Vec::new(),
        streams: 0.5,
        input_tokens: Spread {
            median: 400.0,
            spread: 0.8,
        },
        output_tokens: Spread {
            median: 120.0,
            spread: 0.6,
        },
    }
}

/// A deployment of which nothing is known but its entry.
fn behaviour(spec: &DeploymentSpec) -> Deployment {
    Deployment {
        id: spec.id.clone(),
        weight: spec.weight,
        rpm: spec.rpm,
        tpm: spec.tpm,
        max_parallel_requests: spec.max_parallel,
        timeout_s: None,
        input_cost_per_million: spec.input_cost.unwrap_or(0.0) * 1e6,
        output_cost_per_million: spec.output_cost.unwrap_or(0.0) * 1e6,
        first_token_ms: Spread {
            median: 500.0,
            spread: 0.4,
        },
        tokens_per_second: Spread {
            median: 50.0,
            spread: 0.3,
        },
        slots: None,
        provider_rpm: None,
        failing: 0.0,
        changes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_becomes_a_subject() {
        let path = std::env::temp_dir().join(format!("shardgate-lab-{}.yaml", std::process::id()));
        let text = "model_list:\n\
            - model_name: small\n  litellm_params: {model: openai/a, api_key: k}\n\
            - model_name: large\n  litellm_params: {model: openai/b, api_key: k, rpm: 7}\n\
            - model_name: large\n  litellm_params: {model: openai/c, api_key: k, weight: 2}\n\
            router_settings: {num_retries: 2}\n";
        std::fs::write(&path, text).expect("a file");
        let (scenario, spec) = read(&path, None).expect("a subject");
        assert_eq!(
            (scenario.name.as_str(), spec.deployments.len()),
            ("large", 2)
        );
        assert_eq!(spec.deployments[0].rpm, Some(7));
        assert_eq!(spec.settings.num_retries, Some(2));
        let (small, _) = read(&path, Some("small")).expect("a subject");
        assert_eq!(small.deployments.len(), 1);
        assert!(read(&path, Some("none")).is_err());
        std::fs::remove_file(&path).expect("removed");
    }
}
