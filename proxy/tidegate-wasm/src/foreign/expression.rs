//! Expressions of the Common Expression Language over properties: `expr_create`, `expr_evaluate`, `expr_delete`.
//!
//! An expression is looked through when it is created: which properties it names, and whether it is of a size that
//! cannot cost much. Evaluation takes the gateway's time, which no limit of the guest interrupts, so what may run for
//! long (one loop inside another one, deep nesting, long texts) is refused then.

use cel::{
    Context, Env, ExecutionError, Program, Value,
    common::ast::{Expr, IdedExpr, LiteralValue, operators},
    objects::Key,
};
use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc};
use tidegate_abi::{PairsReader, Status, encode_pairs};

/// Bytes of one expression.
const SOURCE_BYTES: usize = 2048;

/// How deeply expressions may be nested, and loops (`all`, `exists`, `map`, `filter`) in each other.
const DEPTH: usize = 64;
const LOOPS: usize = 2;

/// Expressions of one instance.
const EXPRESSIONS: usize = 256;

/// Names of a property, from the outermost on.
pub(crate) type Path = Vec<String>;

/// How the bytes of a property are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Bytes,
    Number,
    Flag,
    Map,
}

/// The expressions of an instance, by token.
#[derive(Clone, Default)]
pub(crate) struct Expressions {
    env: Option<Arc<Env>>,
    list: HashMap<u32, Arc<Expression>>,
    next: u32,
}

/// One that can be evaluated.
pub(crate) struct Expression {
    env: Arc<Env>,
    program: Program,
    paths: Vec<Path>,
}

impl Expressions {
    /// Checks an expression and keeps it; the answer is its token.
    pub(crate) fn create(&mut self, source: &[u8]) -> Result<u32, Status> {
        let source = std::str::from_utf8(source).map_err(|_| Status::BadArgument)?;
        if source.len() > SOURCE_BYTES || self.list.len() >= EXPRESSIONS {
            return Err(Status::BadArgument);
        }
        let env = self.env.get_or_insert_with(|| Arc::new(Env::stdlib())).clone();
        let program = guarded(|| env.compile(source).ok()).flatten().ok_or(Status::BadArgument)?;
        let mut survey = Survey::default();
        survey.visit(program.expression(), 0, 0);
        // Each is looked up once: that takes as long as an expression.
        survey.functions.sort();
        survey.functions.dedup();
        let declared = |(name, is_method): &(String, bool)| declares(&env, name, *is_method);
        if survey.refused || !survey.functions.iter().all(declared) {
            return Err(Status::BadArgument);
        }
        let mut paths = survey.paths;
        // A shorter path has all that a longer one begins with it.
        paths.sort_by_key(Vec::len);
        paths.dedup();
        while self.list.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let token = self.next;
        self.next = self.next.wrapping_add(1);
        self.list.insert(token, Arc::new(Expression { env, program, paths }));
        Ok(token)
    }

    pub(crate) fn find(&self, token: u32) -> Option<Arc<Expression>> {
        self.list.get(&token).cloned()
    }

    pub(crate) fn delete(&mut self, token: u32) {
        self.list.remove(&token);
    }
}

impl Expression {
    /// The value, as the ABI encodes properties. `read` finds properties and says how to read them.
    pub(crate) fn evaluate(
        &self,
        read: impl Fn(&Path, &mut Vec<u8>) -> Option<Kind>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        let mut roots: HashMap<String, Tree> = HashMap::new();
        let mut bytes = Vec::new();
        for path in &self.paths {
            bytes.clear();
            let Some((root, rest)) = path.split_first() else { continue };
            // What a method is called on looks like a property; the longest path that is one counts.
            let found = (0..=rest.len()).rev().find_map(|len| {
                bytes.clear();
                let part = path.get(..=len)?.to_vec();
                Some((len, value(read(&part, &mut bytes)?, &bytes)))
            });
            if found.is_none() && rest.is_empty() {
                continue;
            }
            let tree = roots.entry(root.clone()).or_insert_with(Tree::empty);
            match found {
                Some((len, value)) => tree.put(rest.get(..len).unwrap_or_default(), value),
                // The parent is there, its member is not: `has` says so.
                None => tree.touch(rest.split_last().map_or(&[], |(_, parents)| parents)),
            }
        }
        let result = guarded(|| {
            let mut context = Context::with_env(self.env.clone());
            for (root, tree) in roots {
                if let Some(value) = tree.into_value() {
                    context.add_variable_from_value(root, value);
                }
            }
            self.program.execute(&context).ok()
        });
        encode(&result.flatten().ok_or(Status::InternalFailure)?, out)
    }
}

/// Whether there is such a function, or such a method of anything: what a call says that does not fit any of them.
fn declares(env: &Arc<Env>, name: &str, is_method: bool) -> bool {
    let call = format!("{}{name}()", if is_method { "''." } else { "" });
    let said = guarded(|| env.compile(&call).ok()?.execute(&Context::with_env(env.clone())).err());
    !matches!(said.flatten(), Some(ExecutionError::UndeclaredReference(_)))
}

/// A panic of the evaluator must not take the worker with it.
fn guarded<T>(run: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(AssertUnwindSafe(run)).ok()
}

/// What is known of a variable while it is put together.
enum Tree {
    Value(Value),
    Members(HashMap<String, Tree>),
}

impl Tree {
    fn empty() -> Self {
        Self::Members(HashMap::new())
    }

    fn put(&mut self, path: &[String], value: Value) {
        let Some((first, rest)) = path.split_first() else {
            *self = Self::Value(value);
            return;
        };
        if let Self::Members(members) = self {
            members.entry(first.clone()).or_insert_with(Self::empty).put(rest, value);
        }
    }

    fn touch(&mut self, path: &[String]) {
        if let (Some((first, rest)), Self::Members(members)) = (path.split_first(), self) {
            members.entry(first.clone()).or_insert_with(Self::empty).touch(rest);
        }
    }

    fn into_value(self) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Members(members) => {
                let values = members.into_iter().filter_map(|(name, tree)| Some((name, tree.into_value()?)));
                Some(values.collect::<HashMap<String, Value>>().into())
            }
        }
    }
}

fn value(kind: Kind, bytes: &[u8]) -> Value {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
    match kind {
        Kind::Text => text(bytes),
        Kind::Bytes => Value::from(bytes.to_vec()),
        Kind::Number => {
            let number = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
        }
        Kind::Flag => Value::Bool(bytes.first().is_some_and(|flag| *flag != 0)),
        Kind::Map => {
            let mut map: HashMap<String, String> = HashMap::new();
            if let Ok(pairs) = PairsReader::check(bytes) {
                for (name, more) in pairs {
                    let more = String::from_utf8_lossy(more);
                    map.entry(String::from_utf8_lossy(name).into_owned())
                        .and_modify(|value| {
                            value.push(',');
                            value.push_str(&more);
                        })
                        .or_insert_with(|| more.clone().into_owned());
                }
            }
            map.into()
        }
    }
}

fn encode(value: &Value, out: &mut Vec<u8>) -> Result<(), Status> {
    match value {
        Value::Int(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::UInt(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::Float(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::Bool(flag) => out.push(u8::from(*flag)),
        Value::String(text) => out.extend_from_slice(text.as_bytes()),
        Value::Bytes(bytes) => out.extend_from_slice(bytes),
        Value::List(list) => {
            let items = list.iter().map(|item| Ok((scalar(item)?, Vec::new())));
            put_pairs(&items.collect::<Result<Vec<_>, Status>>()?, out);
        }
        Value::Map(map) => {
            let items = map.map.iter().map(|(key, value)| {
                let Key::String(key) = key else { return Err(Status::SerializationFailure) };
                Ok((key.as_bytes().to_vec(), scalar(value)?))
            });
            let mut items = items.collect::<Result<Vec<_>, Status>>()?;
            items.sort();
            put_pairs(&items, out);
        }
        _ => return Err(Status::SerializationFailure),
    }
    Ok(())
}

fn scalar(value: &Value) -> Result<Vec<u8>, Status> {
    if matches!(value, Value::List(_) | Value::Map(_)) {
        return Err(Status::SerializationFailure);
    }
    let mut bytes = Vec::new();
    encode(value, &mut bytes)?;
    Ok(bytes)
}

fn put_pairs(pairs: &[(Vec<u8>, Vec<u8>)], out: &mut Vec<u8>) {
    encode_pairs(|| pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())), out);
}

/// Goes through an expression once.
#[derive(Default)]
struct Survey {
    paths: Vec<Path>,
    /// What is called, and whether on something.
    functions: Vec<(String, bool)>,
    refused: bool,
}

impl Survey {
    fn visit(&mut self, node: &IdedExpr, depth: usize, loops: usize) {
        if depth > DEPTH || loops > LOOPS {
            self.refused = true;
            return;
        }
        if let Some(path) = path_of(&node.expr) {
            self.paths.push(path);
            return;
        }
        let depth = depth + 1;
        match &node.expr {
            Expr::Call(call) => {
                let name = &call.func_name;
                // Operators are calls as well, of names that nobody can write.
                if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                    self.functions.push((name.clone(), call.target.is_some()));
                }
                for part in call.target.iter().map(|target| &**target).chain(&call.args) {
                    self.visit(part, depth, loops);
                }
            }
            Expr::Comprehension(comprehension) => {
                self.visit(&comprehension.iter_range, depth, loops);
                for part in [
                    &comprehension.accu_init,
                    &comprehension.loop_cond,
                    &comprehension.loop_step,
                    &comprehension.result,
                ] {
                    self.visit(part, depth, loops + 1);
                }
            }
            Expr::List(list) => list.elements.iter().for_each(|part| self.visit(part, depth, loops)),
            Expr::Select(select) => self.visit(&select.operand, depth, loops),
            // Maps and messages that an expression makes itself are of no use for conditions.
            Expr::Map(_) | Expr::Struct(_) => self.refused = true,
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        }
    }
}

/// The names of `a.b["c"]`; none for anything else. A chain that is longer than any property is none.
fn path_of(mut node: &Expr) -> Option<Path> {
    let mut names = Vec::new();
    for _ in 0..8 {
        match node {
            Expr::Ident(name) => {
                names.push(name.clone());
                names.reverse();
                return Some(names);
            }
            Expr::Select(select) => {
                names.push(select.field.clone());
                node = &select.operand.expr;
            }
            Expr::Call(call) if call.func_name == operators::INDEX => {
                let [of, Expr::Literal(LiteralValue::String(key))] =
                    [&call.args.first()?.expr, &call.args.get(1)?.expr]
                else {
                    return None;
                };
                names.push(key.inner().to_owned());
                node = of;
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path, out: &mut Vec<u8>) -> Option<Kind> {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let (kind, bytes): (_, &[u8]) = match parts[..] {
            ["request", "path"] => (Kind::Text, b"/a/b"),
            ["request", "size"] => (Kind::Number, &7_u64.to_le_bytes()),
            ["request", "headers", "x-a"] => (Kind::Text, b"one"),
            ["request", "headers"] => {
                let fields: [(&[u8], &[u8]); 3] = [(b"x-a", b"one"), (b"x-b", b"1"), (b"x-b", b"2")];
                encode_pairs(|| fields.into_iter(), out);
                return Some(Kind::Map);
            }
            ["connection", "mtls"] => (Kind::Flag, b"\x01"),
            ["plugin_name"] => (Kind::Text, b"p"),
            ["blob"] => (Kind::Bytes, b"\xff"),
            _ => return None,
        };
        out.extend_from_slice(bytes);
        Some(kind)
    }

    fn evaluated(source: &str) -> Result<Vec<u8>, Status> {
        let mut expressions = Expressions::default();
        let token = expressions.create(source.as_bytes())?;
        let mut out = Vec::new();
        expressions.find(token).unwrap().evaluate(read, &mut out).map(|()| out)
    }

    #[test]
    fn expressions_see_properties() {
        let yes = Ok(vec![1]);
        for source in [
            "request.path == '/a/b'",
            "request.path.startsWith('/a') && request.size > 6",
            "request.headers['x-a'] == 'one'",
            "request.headers['x-b'] == '1,2' && 'x-a' in request.headers",
            "has(request.path) && !has(request.host)",
            "has(request.headers.nope) == false",
            "connection.mtls",
            "plugin_name + '!' == 'p!'",
            "request.path.matches('^/[a-z]/')",
            "[1, 2, 3].exists(x, x == request.size - 5)",
            "request.headers.exists(name, name == 'x-a')",
            "blob == b'\\xff'",
            "true ? true : request.nothing",
        ] {
            assert_eq!(evaluated(source), yes, "{source}");
        }
    }

    #[test]
    fn values_are_encoded_as_properties() {
        let list = {
            let mut out = Vec::new();
            encode_pairs(|| [(&b"a"[..], &b""[..]), (b"b", b"")].into_iter(), &mut out);
            out
        };
        for (source, want) in [
            ("request.size + 1", 8_i64.to_le_bytes().to_vec()),
            ("2u", 2_u64.to_le_bytes().to_vec()),
            ("1.5", 1.5_f64.to_le_bytes().to_vec()),
            ("'text'", b"text".to_vec()),
            ("['a', 'b']", list),
            ("false", vec![0]),
        ] {
            assert_eq!(evaluated(source), Ok(want), "{source}");
        }
        assert_eq!(evaluated("null"), Err(Status::SerializationFailure));
        assert_eq!(evaluated("[[1]]"), Err(Status::SerializationFailure));
    }

    #[test]
    fn what_is_wrong_or_costly_is_refused() {
        let deep = format!("{}1{}", "(".repeat(500), ")".repeat(500));
        let chain = vec!["1"; 600].join("+");
        let select = format!("a{}", ".b".repeat(1000));
        let loops = "[1].all(a, [1].all(b, [1].all(c, true)))";
        let long = format!("'{}'", "a".repeat(SOURCE_BYTES));
        for source in ["", "1 +", "request.", &deep, &chain, &select, loops, &long, "{1: 2}"] {
            assert_eq!(evaluated(source).err(), Some(Status::BadArgument), "{source}");
        }
        // Functions that nobody has declared; what they are called with shows later.
        for source in ["nope(1)", "request.path.nope()", "true || request.path.all(1)", "'a'.nope(nope())"] {
            assert_eq!(evaluated(source).err(), Some(Status::BadArgument), "{source}");
        }
        assert_eq!(evaluated("size(1, 2)").err(), Some(Status::InternalFailure));
        assert_eq!(Expressions::default().create(b"\xff"), Err(Status::BadArgument));
        for source in
            ["nothing", "request.nothing == 1", "1 / 0", "request.path + 1", "9223372036854775807 + 1"]
        {
            assert_eq!(evaluated(source), Err(Status::InternalFailure), "{source}");
        }
    }

    #[test]
    fn tokens_are_given_back() {
        let mut expressions = Expressions::default();
        let tokens: Vec<_> = (0..EXPRESSIONS).map(|_| expressions.create(b"1").unwrap()).collect();
        assert_eq!(tokens[..3], [0, 1, 2]);
        assert_eq!(expressions.create(b"1"), Err(Status::BadArgument));
        expressions.delete(1);
        assert!(expressions.find(1).is_none());
        assert!(expressions.create(b"1").is_ok());
    }
}
