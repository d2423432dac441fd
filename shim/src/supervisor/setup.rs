//! How a conversation is opened: where the agent works in it, and which MCP servers it is given.

use std::path::PathBuf;

use agent_client_protocol_schema::v1::{
    EnvVariable, HttpHeader, McpServer as Given, McpServerHttp, McpServerStdio,
};
use domain::session::McpServer;
use wire::shim::PromptCommand;

use super::instance::Instance;

/// Where the agent works, as it sees it.
pub(super) fn place(instance: &Instance, prompt: &PromptCommand) -> PathBuf {
    let from = prompt.working_dir.as_deref().filter(|path| *path != ".");
    from.map_or_else(|| instance.workspace.clone(), |path| instance.workspace.join(path))
}

/// The MCP servers, as ACP has them.
pub(super) fn servers(prompt: &PromptCommand) -> Vec<Given> {
    prompt.mcp_servers.iter().filter_map(server).collect()
}

fn server(server: &McpServer) -> Option<Given> {
    let name = server.name.as_str();
    if let Some(url) = &server.url {
        let header = |(name, value): (&_, &_)| HttpHeader::new(text(name), text(value));
        let headers = server.headers.iter().map(header).collect();
        return Some(Given::Http(McpServerHttp::new(name, url.as_str()).headers(headers)));
    }
    let command = server.command.as_ref()?;
    let variable = |(name, value): (&_, &_)| EnvVariable::new(text(name), text(value));
    let given = McpServerStdio::new(name, command.as_str())
        .args(server.args.iter().map(text).collect())
        .env(server.env.iter().map(variable).collect());
    Some(Given::Stdio(given))
}

fn text(value: &impl ToString) -> String {
    value.to_string()
}
