//! The commands on strings, hashes and lists.

use super::super::table::{
    BLOCKING, CommandFlags, CommandFn, CommandGroup, CommandSpec, DENYOOM, FAST, READONLY, WRITE,
};
use super::super::table::{BlockingValueFn, ValueFn};
use super::{hash_scan, hashes, keys, list_items, list_moves, lists, numbers, set, strings};

/// Changes keys and may use more memory.
const GROW: CommandFlags = WRITE | DENYOOM;

const fn string(name: &'static str, arity: i32, flags: CommandFlags, run: ValueFn) -> CommandSpec {
    CommandSpec::new(name, arity, flags, CommandGroup::String, CommandFn::Value(run)).keys(1, 1)
}

const fn hash(name: &'static str, arity: i32, flags: CommandFlags, run: ValueFn) -> CommandSpec {
    CommandSpec::new(name, arity, flags, CommandGroup::Hash, CommandFn::Value(run)).keys(1, 1)
}

const fn list(name: &'static str, arity: i32, flags: CommandFlags, run: ValueFn) -> CommandSpec {
    CommandSpec::new(name, arity, flags, CommandGroup::List, CommandFn::Value(run)).keys(1, 1)
}

const fn blocking(name: &'static str, arity: i32, flags: CommandFlags, run: BlockingValueFn) -> CommandSpec {
    CommandSpec::new(name, arity, flags, CommandGroup::List, CommandFn::BlockingValue(run))
}

const fn key(name: &'static str, arity: i32, flags: CommandFlags, run: ValueFn) -> CommandSpec {
    CommandSpec::new(name, arity, flags, CommandGroup::Generic, CommandFn::Value(run))
}

/// The commands on strings, sorted by name.
pub(in super::super) const STRINGS: &[CommandSpec] = &[
    string("append", 3, GROW | FAST, strings::append).about("2.0.0", "Appends to a string."),
    string("decr", 2, GROW | FAST, numbers::decr).about("1.0.0", "Decrements a number by one."),
    string("decrby", 3, GROW | FAST, numbers::decrby).about("1.0.0", "Decrements a number."),
    string("get", 2, READONLY | FAST, strings::get).about("1.0.0", "Returns a string."),
    string("getdel", 2, WRITE | FAST, strings::getdel).about("6.2.0", "Returns a string and deletes its key."),
    string("getex", -2, WRITE | FAST, set::getex).about("6.2.0", "Returns a string and sets when its key expires."),
    string("getrange", 4, READONLY, strings::getrange).about("2.4.0", "Returns a part of a string."),
    string("getset", 3, GROW | FAST, set::getset).about("1.0.0", "Sets a string and returns the former one."),
    string("incr", 2, GROW | FAST, numbers::incr).about("1.0.0", "Increments a number by one."),
    string("incrby", 3, GROW | FAST, numbers::incrby).about("1.0.0", "Increments a number."),
    string("incrbyfloat", 3, GROW | FAST, numbers::incrbyfloat).about("2.6.0", "Increments a floating-point number."),
    string("mget", -2, READONLY | FAST, strings::mget).keys(1, -1).about("1.0.0", "Returns several strings."),
    string("mset", -3, GROW, set::mset).key_pairs().about("1.0.1", "Sets several strings."),
    string("msetnx", -3, GROW, set::msetnx).key_pairs().about("1.0.1", "Sets several strings if no key exists."),
    string("psetex", 4, GROW, set::psetex).about("2.6.0", "Sets a string that expires after milliseconds."),
    string("set", -3, GROW, set::set).about("1.0.0", "Sets a string, with conditions and an expiration time."),
    string("setex", 4, GROW, set::setex).about("2.0.0", "Sets a string that expires after seconds."),
    string("setnx", 3, GROW | FAST, set::setnx).about("1.0.0", "Sets a string if the key does not exist."),
    string("setrange", 4, GROW, strings::setrange).about("2.2.0", "Replaces a part of a string."),
    string("strlen", 2, READONLY | FAST, strings::strlen).about("2.2.0", "Returns the length of a string."),
    string("substr", 4, READONLY, strings::getrange).about("1.0.0", "Returns a part of a string."),
];

/// The commands on hashes, sorted by name.
pub(in super::super) const HASHES: &[CommandSpec] = &[
    hash("hdel", -3, WRITE | FAST, hashes::hdel).about("2.0.0", "Deletes fields of a hash."),
    hash("hexists", 3, READONLY | FAST, hashes::hexists).about("2.0.0", "Checks whether a field exists."),
    hash("hget", 3, READONLY | FAST, hashes::hget).about("2.0.0", "Returns the value of a field."),
    hash("hgetall", 2, READONLY, hashes::hgetall).about("2.0.0", "Returns all fields and values of a hash."),
    hash("hincrby", 4, GROW | FAST, numbers::hincrby).about("2.0.0", "Increments the number of a field."),
    hash("hincrbyfloat", 4, GROW | FAST, numbers::hincrbyfloat)
        .about("2.6.0", "Increments the floating-point number of a field."),
    hash("hkeys", 2, READONLY, hashes::hkeys).about("2.0.0", "Returns all fields of a hash."),
    hash("hlen", 2, READONLY | FAST, hashes::hlen).about("2.0.0", "Returns the number of fields."),
    hash("hmget", -3, READONLY | FAST, hashes::hmget).about("2.0.0", "Returns the values of several fields."),
    hash("hmset", -4, GROW | FAST, hashes::hmset).about("2.0.0", "Sets fields of a hash."),
    hash("hrandfield", -2, READONLY, hash_scan::hrandfield).about("6.2.0", "Returns random fields."),
    hash("hscan", -3, READONLY, hash_scan::hscan).about("2.8.0", "Lists the fields page by page."),
    hash("hset", -4, GROW | FAST, hashes::hset).about("2.0.0", "Sets fields of a hash."),
    hash("hsetnx", 4, GROW | FAST, hashes::hsetnx).about("2.0.0", "Sets a field that does not exist."),
    hash("hstrlen", 3, READONLY | FAST, hashes::hstrlen).about("3.2.0", "Returns the length of a field's value."),
    hash("hvals", 2, READONLY, hashes::hvals).about("2.0.0", "Returns all values of a hash."),
];

/// The commands on lists, sorted by name.
pub(in super::super) const LISTS: &[CommandSpec] = &[
    blocking("blmove", 6, GROW | BLOCKING, list_moves::blmove)
        .keys(1, 2)
        .about("6.2.0", "Moves an item to another list, or waits for one."),
    blocking("blpop", -3, WRITE | BLOCKING, list_moves::blpop)
        .keys(1, -2)
        .about("2.0.0", "Removes the first item of a list, or waits for one."),
    blocking("brpop", -3, WRITE | BLOCKING, list_moves::brpop)
        .keys(1, -2)
        .about("2.0.0", "Removes the last item of a list, or waits for one."),
    blocking("brpoplpush", 4, GROW | BLOCKING, list_moves::brpoplpush)
        .keys(1, 2)
        .about("2.2.0", "Moves the last item to another list, or waits for one."),
    list("lindex", 3, READONLY, list_items::lindex).about("1.0.0", "Returns an item by its index."),
    list("linsert", 5, GROW, list_items::linsert).about("2.2.0", "Inserts an item before or after another one."),
    list("llen", 2, READONLY | FAST, lists::llen).about("1.0.0", "Returns the length of a list."),
    list("lmove", 5, GROW, list_moves::lmove).keys(1, 2).about("6.2.0", "Moves an item to another list."),
    list("lpop", -2, WRITE | FAST, lists::lpop).about("1.0.0", "Removes the first items of a list."),
    list("lpos", -3, READONLY, list_items::lpos).about("6.0.6", "Returns the indexes of equal items."),
    list("lpush", -3, GROW | FAST, lists::lpush).about("1.0.0", "Adds items before the first one."),
    list("lpushx", -3, GROW | FAST, lists::lpushx)
        .about("2.2.0", "Adds items before the first one of an existing list."),
    list("lrange", 4, READONLY, lists::lrange).about("1.0.0", "Returns a range of items."),
    list("lrem", 4, WRITE, list_items::lrem).about("1.0.0", "Removes equal items."),
    list("lset", 4, GROW, list_items::lset).about("1.0.0", "Replaces an item."),
    list("ltrim", 4, WRITE, lists::ltrim).about("1.0.0", "Keeps a range of items."),
    list("rpop", -2, WRITE | FAST, lists::rpop).about("1.0.0", "Removes the last items of a list."),
    list("rpoplpush", 3, GROW, list_moves::rpoplpush).keys(1, 2).about("1.2.0", "Moves the last item to another list."),
    list("rpush", -3, GROW | FAST, lists::rpush).about("1.0.0", "Adds items after the last one."),
    list("rpushx", -3, GROW | FAST, lists::rpushx).about("2.2.0", "Adds items after the last one of an existing list."),
];

/// The commands on keys of any type that streams do not have, sorted by name.
pub(in super::super) const KEYS: &[CommandSpec] = &[
    key("copy", -3, GROW, keys::copy).keys(1, 2).about("6.2.0", "Copies a value to another key."),
    key("move", 3, WRITE | FAST, keys::move_key).keys(1, 1).about("1.0.0", "Moves a value to another database."),
    key("rename", 3, WRITE, keys::rename).keys(1, 2).about("1.0.0", "Renames a key."),
    key("renamenx", 3, WRITE | FAST, keys::renamenx)
        .keys(1, 2)
        .about("1.0.0", "Renames a key if the new name does not exist."),
];
