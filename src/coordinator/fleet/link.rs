//! The way to Redis: where it is, and one connection to it, whatever stands there: a server, a
//! cluster, or a master that Sentinel names.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    Pipeline, RedisConnectionInfo, RedisFuture, RedisResult, TlsMode, Value,
};
use shardgate_config::{Config, Secret};

/// A command that takes longer counts as lost, where no setting says otherwise.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);
/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Where Redis is and how it is spoken to.
#[derive(Clone)]
pub(super) struct Address {
    place: Place,
    username: Option<String>,
    password: Option<Secret>,
    db: i64,
    tls: bool,
    answer_within: Duration,
}

#[derive(Clone)]
enum Place {
    Url(Secret),
    Server(String, u16),
    Cluster(Vec<(String, u16)>),
    Sentinel {
        service: String,
        nodes: Vec<(String, u16)>,
        password: Option<Secret>,
    },
}

impl Address {
    /// What `router_settings` say, else a Redis of `cache_params`, else the environment.
    pub(super) fn of(config: &Config) -> Option<Address> {
        of_router(config)
            .or_else(|| of_cache(config))
            .or_else(of_environment)
    }

    /// Whether keys of one call must lie in one slot.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster(_))
    }

    /// How long a command may take.
    pub(super) fn answer_within(&self) -> Duration {
        self.answer_within
    }

    fn info(&self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default().set_db(self.db);
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password.expose());
        }
        info
    }

    fn node(&self, host: &str, port: u16) -> ConnectionAddr {
        let host = host.to_owned();
        match self.tls {
            true => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
            false => ConnectionAddr::Tcp(host, port),
        }
    }

    fn server(&self, host: &str, port: u16) -> RedisResult<ConnectionInfo> {
        let info = self.node(host, port).into_connection_info()?;
        Ok(info.set_redis_settings(self.info()))
    }

    async fn client(&self) -> RedisResult<Client> {
        match &self.place {
            Place::Url(url) => Client::open(url.expose()),
            Place::Server(host, port) => Client::open(self.server(host, *port)?),
            Place::Cluster(nodes) => {
                let (host, port) = nodes.first().cloned().unwrap_or_default();
                Client::open(self.server(&host, port)?)
            }
            Place::Sentinel {
                service,
                nodes,
                password,
            } => {
                let nodes = nodes
                    .iter()
                    .map(|(host, port)| ConnectionAddr::Tcp(host.clone(), *port));
                let kind = SentinelServerType::Master;
                let mut made = SentinelClientBuilder::new(nodes, service.clone(), kind)?
                    .set_client_to_redis_db(self.db);
                if let Some(password) = password {
                    made = made.set_client_to_sentinel_password(password.expose());
                }
                if let Some(username) = &self.username {
                    made = made.set_client_to_redis_username(username);
                }
                if let Some(password) = &self.password {
                    made = made.set_client_to_redis_password(password.expose());
                }
                if self.tls {
                    made = made.set_client_to_redis_tls_mode(TlsMode::Secure);
                }
                made.build()?.async_get_client().await
            }
        }
    }

    fn cluster(&self, nodes: &[(String, u16)]) -> RedisResult<ClusterClient> {
        let nodes: RedisResult<Vec<_>> = nodes
            .iter()
            .map(|(host, port)| self.server(host, *port))
            .collect();
        ClusterClientBuilder::new(nodes?)
            .connection_timeout(CONNECT_WITHIN)
            .response_timeout(self.answer_within)
            .retries(1)
            .build()
    }

    /// Connects; a Sentinel is asked anew each time.
    pub(super) async fn connect(&self) -> RedisResult<Link> {
        let connecting = async {
            if let Place::Cluster(nodes) = &self.place {
                let cluster = self.cluster(nodes)?.get_async_connection().await?;
                return Ok(Link::Cluster(cluster));
            }
            let settings = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_WITHIN))
                .set_response_timeout(Some(self.answer_within));
            let client = self.client().await?;
            let connection = client.get_multiplexed_async_connection_with_config(&settings);
            Ok(Link::Server(connection.await?))
        };
        tokio::time::timeout(CONNECT_WITHIN, connecting)
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
    }

    /// A connection for news alone.
    pub(super) async fn listen(&self) -> RedisResult<redis::aio::PubSub> {
        let connecting = async { self.client().await?.get_async_pubsub().await };
        tokio::time::timeout(CONNECT_WITHIN, connecting)
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
    }
}

fn of_router(config: &Config) -> Option<Address> {
    let router = &config.router;
    let more = &router.cache_kwargs;
    let nodes = more.startup_nodes.as_ref().map(|nodes| {
        let pair = |node: &shardgate_config::Node| (node.host.clone(), port(node.port));
        nodes.iter().map(pair).collect()
    });
    let sentinels = more.service_name.clone().zip(more.sentinel_nodes.clone());
    let place = match (&router.redis_url, nodes, sentinels, &router.redis_host) {
        (Some(url), ..) => Place::Url(url.clone()),
        (_, Some(nodes), ..) => Place::Cluster(nodes),
        (_, _, Some((service, nodes)), _) => Place::Sentinel {
            service,
            nodes,
            password: None,
        },
        (.., Some(host)) => Place::Server(host.clone(), port(router.redis_port)),
        _ => return None,
    };
    Some(Address {
        place,
        username: router
            .redis_username
            .clone()
            .or_else(|| more.username.clone()),
        password: router.redis_password.clone(),
        db: number(router.redis_db),
        tls: router.redis_ssl || more.ssl,
        answer_within: ANSWER_WITHIN,
    })
}

fn of_cache(config: &Config) -> Option<Address> {
    let cache = config.litellm.cache_params.as_ref()?;
    let nodes = cache.redis_startup_nodes.as_ref().map(|nodes| {
        let pair = |node: &shardgate_config::Node| (node.host.clone(), port(node.port));
        nodes.iter().map(pair).collect()
    });
    let sentinels = cache.service_name.clone().zip(cache.sentinel_nodes.clone());
    let place = match (&cache.url, nodes, sentinels, &cache.host) {
        (Some(url), ..) => Place::Url(url.clone()),
        (_, Some(nodes), ..) => Place::Cluster(nodes),
        (_, _, Some((service, nodes)), _) => Place::Sentinel {
            service,
            nodes,
            password: cache.sentinel_password.clone(),
        },
        (.., Some(host)) => Place::Server(host.clone(), port(cache.port)),
        _ => return None,
    };
    Some(Address {
        place,
        username: cache.username.clone(),
        password: cache.password.clone(),
        db: number(cache.db),
        tls: cache.ssl,
        answer_within: cache.socket_timeout.unwrap_or(ANSWER_WITHIN),
    })
}

/// LiteLLM's variables, where no section names a Redis.
fn of_environment() -> Option<Address> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let secret = |name: &str| variable(name).map(Secret::new);
    let place = match (secret("REDIS_URL"), variable("REDIS_HOST")) {
        (Some(url), _) => Place::Url(url),
        // A cluster's service links set the port to an address.
        (_, Some(host)) => {
            let port = variable("REDIS_PORT").and_then(|text| text.parse().ok());
            Place::Server(host, port.unwrap_or(6379))
        }
        _ => return None,
    };
    Some(Address {
        place,
        username: variable("REDIS_USERNAME"),
        password: secret("REDIS_PASSWORD"),
        db: 0,
        tls: variable("REDIS_SSL").is_some_and(|text| text.eq_ignore_ascii_case("true")),
        answer_within: ANSWER_WITHIN,
    })
}

fn port(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(6379)
}

fn number(db: Option<u64>) -> i64 {
    db.and_then(|db| i64::try_from(db).ok()).unwrap_or(0)
}

/// A connection.
#[derive(Clone)]
pub(super) enum Link {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Link::Server(link) => link.req_packed_command(command),
            Link::Cluster(link) => link.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Link::Server(link) => link.req_packed_commands(commands, offset, count),
            Link::Cluster(link) => link.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Link::Server(link) => link.get_db(),
            Link::Cluster(link) => link.get_db(),
        }
    }
}
