//! The Lua scripts. Each is one atomic step in the slot of its task.

use std::sync::LazyLock;

/// A script, called by its hash.
#[derive(Debug)]
pub(super) struct LuaScript {
    code: String,
    sha1: String,
}

const PRELUDE: &str = include_str!("scripts/prelude.lua");

/// Inserts the shared functions after the first line, which must stay the first.
fn assembled(body: &str) -> LuaScript {
    let (head, rest) = body.split_once('\n').unwrap_or((body, ""));
    let code = format!("{head}\n{PRELUDE}\n{rest}");
    let sha1 = redis::Script::new(&code).get_hash().to_owned();
    LuaScript { code, sha1 }
}

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<LuaScript> =
            LazyLock::new(|| assembled(include_str!(concat!("scripts/", $file, ".lua"))));)*
    };
}

scripts! {
    ACCOUNT = "account";
    ADOPT = "adopt";
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
    RUN_APPEND = "run_append";
    RUN_PRINTS = "run_prints";
    SEALED = "sealed";
    SECRET = "secret";
    UNLIST = "unlist";
}

impl LuaScript {
    /// Returns the command that calls the script: by its hash, or with its text for a server that does not know it,
    /// which then does.
    pub(super) fn call<A: redis::ToRedisArgs>(&self, whole: bool, keys: &[String], args: &[A]) -> redis::Cmd {
        let mut command = redis::cmd(if whole { "EVAL" } else { "EVALSHA" });
        command.arg(if whole { &self.code } else { &self.sha1 });
        command.arg(keys.len()).arg(keys).arg(args);
        command
    }
}
