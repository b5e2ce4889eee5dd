//! What a case grants the plugin: a line `plugin KEY WORDS` for each key of the configuration that is not the default.

use tidegate_wasm::{BodyAccess, Capabilities, HeadersPause, Names};

/// The part of a plugin's configuration that cases can set.
#[derive(Debug, Default, Clone)]
pub(crate) struct Terms {
    pub(crate) capabilities: Capabilities,
    pub(crate) on_headers_pause: HeadersPause,
}

impl Terms {
    /// Takes one line.
    pub(crate) fn read(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
        let key = words.next().unwrap_or_default();
        let list: Vec<String> = words.collect();
        let names = || Some(Names::new(&list));
        let all = &mut self.capabilities;
        match key.as_str() {
            "functions" => all.restrict_functions(&list),
            "requestHeaders.read" => all.request_headers.read = names(),
            "requestHeaders.write" => all.request_headers.write = names(),
            "responseHeaders.read" => all.response_headers.read = names(),
            "responseHeaders.write" => all.response_headers.write = names(),
            "forwardTo" => all.forward_to = Some(list),
            "routeTo" => all.route_to = Some(list),
            "requestBody" => all.request_body = access(&list)?,
            "responseBody" => all.response_body = access(&list)?,
            "onHeadersPause" if list == ["stopAll"] => self.on_headers_pause = HeadersPause::StopAll,
            _ => return Err(format!("no case can set {line:?} of a plugin")),
        }
        Ok(())
    }
}

fn access(words: &[String]) -> Result<BodyAccess, String> {
    match words {
        [word] if word == "none" => Ok(BodyAccess::None),
        [word] if word == "read" => Ok(BodyAccess::Read),
        _ => Err(format!("none or read, not {words:?}")),
    }
}
