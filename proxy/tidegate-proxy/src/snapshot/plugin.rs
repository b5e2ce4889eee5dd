//! From a plan's plugin to what the Wasm host builds it from.

use tidegate_config::plan::{self, Plan};
use tidegate_wasm::{BodyAccess, Capabilities, FieldAccess, HeadersPause, Limits, Module, Names, PluginSpec};

/// Puts a plugin of a plan and its compiled module together.
#[must_use]
pub fn plugin_spec(plan: &Plan, spec: &plan::Plugin, module: Module) -> PluginSpec {
    let upstreams = spec.callable.iter().filter_map(|&index| plan.upstreams.get(index));
    PluginSpec {
        name: spec.name.clone(),
        root_id: spec.root_id.clone(),
        vm_id: spec.vm_id.clone(),
        module,
        config: spec.config.clone().into(),
        vm_config: spec.vm_config.clone().into(),
        environment: spec.environment.clone(),
        limits: limits(&spec.limits),
        callable: upstreams.map(|upstream| upstream.name.clone()).collect(),
        capabilities: capabilities(&spec.capabilities),
        on_headers_pause: match spec.on_headers_pause {
            plan::HeadersPause::ContinueBody => HeadersPause::ContinueBody,
            plan::HeadersPause::StopAll => HeadersPause::StopAll,
        },
    }
}

fn limits(plan: &plan::PluginLimits) -> Limits {
    Limits {
        call_time: plan.call_time,
        request_time: plan.request_time,
        memory: plan.memory,
        call_host_calls: plan.call_host_calls,
        request_host_calls: plan.request_host_calls,
        copied_bytes: plan.copied_bytes,
        open_calls: plan.open_calls,
        log_lines: plan.log_lines,
        held_bytes: plan.held_body,
        rebuild_above: plan.rebuild_above,
    }
}

fn capabilities(plan: &plan::Capabilities) -> Capabilities {
    let names = |names: &Option<Vec<String>>| names.as_ref().map(Names::new);
    let fields =
        |fields: &plan::FieldAccess| FieldAccess { read: names(&fields.read), write: names(&fields.write) };
    let body = |access: plan::BodyAccess| match access {
        plan::BodyAccess::None => BodyAccess::None,
        plan::BodyAccess::Read => BodyAccess::Read,
        plan::BodyAccess::Write => BodyAccess::Write,
    };
    let mut capabilities = Capabilities {
        request_headers: fields(&plan.request_headers),
        response_headers: fields(&plan.response_headers),
        request_body: body(plan.request_body),
        response_body: body(plan.response_body),
        forward_to: plan.forward_to.clone(),
        route_to: plan.route_to.clone(),
        ..Capabilities::default()
    };
    if let Some(functions) = &plan.functions {
        capabilities.restrict_functions(functions);
    }
    capabilities
}

#[cfg(test)]
mod tests {
    /// What a configuration may grant is what the host has.
    #[test]
    fn foreign_functions_are_those_of_the_host() {
        assert_eq!(super::plan::FOREIGN_FUNCTIONS, tidegate_wasm::FOREIGN_FUNCTIONS);
    }
}
