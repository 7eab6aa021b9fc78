//! The Lua scripts. Each is one atomic step in the slot of its task.

use std::sync::LazyLock;

/// A script, called by its hash.
#[derive(Debug)]
pub(super) struct LuaScript {
    text: LazyLock<ScriptText>,
    /// Name, for messages.
    pub(super) name: &'static str,
}

#[derive(Debug)]
struct ScriptText {
    code: String,
    sha1: String,
}

const PRELUDE: &str = include_str!("scripts/prelude.lua");

/// Inserts the shared functions after the first line, which must stay the first.
fn assembled(body: &str) -> ScriptText {
    let (head, rest) = body.split_once('\n').unwrap_or((body, ""));
    let code = format!("{head}\n{PRELUDE}\n{rest}");
    let sha1 = redis::Script::new(&code).get_hash().to_owned();
    ScriptText { code, sha1 }
}

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LuaScript = LuaScript {
            text: LazyLock::new(|| assembled(include_str!(concat!("scripts/", $file, ".lua")))),
            name: $file,
        };)*
    };
}

scripts! {
    ACCOUNT = "account";
    APPEND = "append";
    ARCHIVED = "archived";
    ATTACH = "attach";
    CREATE = "create";
    END = "end";
    LEASE = "lease";
    PATCH = "patch";
    PRESENT = "present";
    REMOVE = "remove";
    REOPEN = "reopen";
    SEALED = "sealed";
    SECRET = "secret";
    UNLIST = "unlist";
}

impl LuaScript {
    /// Returns the command that calls the script.
    pub(super) fn call<A: redis::ToRedisArgs>(&self, keys: &[String], args: &[A]) -> redis::Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.text.sha1).arg(keys.len()).arg(keys).arg(args);
        command
    }

    /// Returns the command that loads the script.
    pub(super) fn load(&self) -> redis::Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&self.text.code);
        command
    }
}
