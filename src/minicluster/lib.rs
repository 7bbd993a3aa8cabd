//! A member cluster in one process: apiserver, workload controllers, scheduler, node agents, service proxy.
