//! The service proxy: what kube-proxy and a cloud's load balancer do, as TCP proxies.
//!
//! A Service's address is listened on only while something is behind it; otherwise a connection is
//! refused, as kube-proxy does. What cannot be bound becomes an Event, and a load balancer address
//! that cannot serve all its ports is not published.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Service, ServiceStatus};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::{forward::Balancer, plan::Frontend};
use crate::{
    addresses::Pool,
    context::Context,
    informer::Key,
    node::{Registry, bind},
    queue::{self, Queue, Requeue},
    write::{self, Writer},
};

pub(crate) mod forward;
mod plan;

const NAME: &str = "service-proxy";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Why a Service could not be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An address could not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The status could not be written.
    #[error("cannot publish the load balancer")]
    Publish(#[source] write::Error),
}

struct Listening {
    service: Key,
    port: String,
    sticky: bool,
    balancer: Arc<Balancer>,
    stop: CancellationToken,
}

struct Proxy {
    context: Arc<Context>,
    registry: Arc<Registry>,
    writer: Writer,
    pool: Mutex<Pool>,
    listening: Mutex<HashMap<SocketAddr, Listening>>,
}

/// Starts the proxy. Load balancers get addresses out of `pool`.
pub(crate) async fn start(context: &Arc<Context>, registry: &Arc<Registry>, pool: Pool) {
    let queue = Arc::new(Queue::default());
    let proxy = Arc::new(Proxy {
        context: context.clone(),
        registry: registry.clone(),
        writer: context.writer(NAME),
        pool: Mutex::new(pool),
        listening: Mutex::default(),
    });
    context.synced().await;
    proxy.reserve_addresses();
    context.services.on_change({
        let queue = queue.clone();
        move |change| queue.add(change.key.clone())
    });
    context.slices.on_change({
        let queue = queue.clone();
        move |change| {
            for slice in change.versions() {
                let service = slice
                    .metadata
                    .labels
                    .as_ref()
                    .and_then(|labels| labels.get(SERVICE_NAME));
                if let Some(service) = service {
                    queue.add(Key::new(change.key.namespace(), service));
                }
            }
        }
    });
    registry.on_change({
        let (queue, services) = (queue.clone(), context.services.clone());
        move |_| {
            for service in services.list() {
                queue.add(Key::from_meta(&service.metadata));
            }
        }
    });
    // One at a time: two Services may want one address after the other.
    queue::spawn(NAME, queue, 1, &context.shutdown, move |key| {
        let proxy = proxy.clone();
        async move { proxy.sync(&key).await }
    });
}

fn published(service: &Service) -> Option<Ipv4Addr> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    ingress.iter().find_map(|ingress| ingress.ip.as_deref()?.parse().ok())
}

impl Proxy {
    fn reserve_addresses(&self) {
        let mut pool = self.pool.lock();
        for service in self.context.services.list() {
            if let Some(address) = published(&service) {
                pool.take(&Key::from_meta(&service.metadata).to_string(), Some(address));
            }
        }
    }

    async fn sync(&self, key: &Key) -> Result<Requeue, Error> {
        let service = self.context.services.get(key);
        let owner = key.to_string();
        let load_balancer = match &service {
            Some(service) if plan::wants_load_balancer(service) => {
                let asked = service
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.load_balancer_ip.as_deref()?.parse().ok());
                self.pool.lock().take(&owner, published(service).or(asked))
            }
            Some(_) | None => {
                self.pool.lock().release(&owner);
                None
            }
        };
        let Some(service) = service else {
            self.close(key, |_| false);
            return Ok(None);
        };
        let nodes: Vec<_> = self.registry.nodes().into_iter().map(|(_, address)| address).collect();
        let slices = self.context.slices.list_in(key.namespace(), |slice| {
            slice
                .metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(SERVICE_NAME))
                .is_some_and(|name| name == key.name())
        });
        let frontends = plan::frontends(&service, &nodes, load_balancer);
        let sticky = service.spec.as_ref().and_then(|spec| spec.session_affinity.as_deref()) == Some("ClientIP");
        let mut wanted = HashMap::new();
        for frontend in &frontends {
            let backends = plan::backends(&frontend.port, &slices);
            if !backends.is_empty() {
                wanted.insert(frontend.address, (frontend, backends));
            }
        }
        self.close(key, |(address, held)| {
            let same = |(frontend, _): &(&Frontend, _)| frontend.port == held.port && held.sticky == sticky;
            wanted.get(address).is_some_and(same)
        });
        let mut failure = None;
        for (address, (frontend, backends)) in wanted {
            if let Err(source) = self.open(key, frontend, backends, sticky) {
                failure = Some(Error::Listen { address, source });
            }
        }
        let unbindable = load_balancer.and_then(|ip| self.check(&service, ip));
        if let Some(error) = failure.as_ref().or(unbindable.as_ref()) {
            let message = queue::chain(error);
            self.context
                .events
                .of(NAME)
                .warning(&*service, "SyncLoadBalancerFailed", message);
        }
        let publishable = load_balancer.filter(|_| unbindable.is_none());
        self.publish(&service, publishable).await?;
        failure.or(unbindable).map_or(Ok(None), Err)
    }

    /// The first port of a load balancer address that cannot be listened on.
    fn check(&self, service: &Service, ip: Ipv4Addr) -> Option<Error> {
        plan::service_ports(service).into_iter().find_map(|port| {
            let address = SocketAddr::new(IpAddr::V4(ip), port);
            if self.listening.lock().contains_key(&address) {
                return None;
            }
            bind(address).err().map(|source| Error::Listen { address, source })
        })
    }

    fn open(&self, key: &Key, frontend: &Frontend, backends: Vec<SocketAddr>, sticky: bool) -> io::Result<()> {
        let mut listening = self.listening.lock();
        if let Some(held) = listening.get(&frontend.address).filter(|held| held.service == *key) {
            held.balancer.set(backends);
            return Ok(());
        }
        let listener = bind(frontend.address)?;
        let balancer = Arc::new(Balancer::new(backends, sticky));
        let stop = self.context.shutdown.child_token();
        forward::balanced(listener, balancer.clone(), stop.clone());
        let held = Listening {
            service: key.clone(),
            port: frontend.port.clone(),
            sticky,
            balancer,
            stop,
        };
        listening.insert(frontend.address, held);
        Ok(())
    }

    /// Closes what a Service listens on, but for what is kept.
    fn close(&self, key: &Key, keep: impl Fn((&SocketAddr, &Listening)) -> bool) {
        self.listening.lock().retain(|address, held| {
            let stays = held.service != *key || keep((address, held));
            if !stays {
                held.stop.cancel();
            }
            stays
        });
    }

    async fn publish(&self, service: &Service, address: Option<Ipv4Addr>) -> Result<(), Error> {
        let managed = plan::wants_load_balancer(service) || published(service).is_some();
        let foreign = service
            .spec
            .as_ref()
            .is_some_and(|spec| spec.load_balancer_class.is_some());
        if !managed || foreign || published(service) == address {
            return Ok(());
        }
        let ingress = address.map(|ip| {
            let ingress = LoadBalancerIngress {
                ip: Some(ip.to_string()),
                ip_mode: Some("VIP".into()),
                ..LoadBalancerIngress::default()
            };
            vec![ingress]
        });
        let mut status: ServiceStatus = service.status.clone().unwrap_or_default();
        status.load_balancer = Some(LoadBalancerStatus { ingress });
        let written = self
            .writer
            .set_status(&self.context.services, service, service.status.as_ref(), &status)
            .await;
        written.map_err(Error::Publish)?;
        if let Some(address) = address {
            let message = format!("Ensured load balancer at {address}");
            self.context
                .events
                .of(NAME)
                .normal(service, "EnsuredLoadBalancer", message);
        }
        Ok(())
    }
}
