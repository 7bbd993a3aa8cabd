//! Nodes: what registers them, and what runs the pods that are bound to them.

mod agent;
mod environment;
mod kubelet;
mod logs;
mod outcome;
mod probe;
mod process;
mod registry;
mod status;
mod sys;
mod volumes;
mod web;
mod web_container;

pub(crate) use self::{
    agent::{Agent, Settings},
    kubelet::{Error as KubeletError, start as start_kubelet},
    registry::{Capacity, Error as RegistryError, Registry},
    sys::raise_file_limit,
    web::bind,
};
