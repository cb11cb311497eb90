//! The tables that the gateway reads and writes by row, and the statements for that in both
//! dialects: made once from the schema's facts, never from anything that came from outside.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::schema::{Kind, SCHEMA, Shape};

/// A table of LiteLLM's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Table(&'static str);

impl Table {
    /// Virtual keys.
    pub const KEYS: Table = Table("LiteLLM_VerificationToken");
    /// Keys that were deleted.
    pub const DELETED_KEYS: Table = Table("LiteLLM_DeletedVerificationToken");
    /// Teams.
    pub const TEAMS: Table = Table("LiteLLM_TeamTable");
    /// Who is in which team, with what was spent there.
    pub const TEAM_MEMBERS: Table = Table("LiteLLM_TeamMembership");
    /// The model aliases of teams.
    pub const TEAM_MODELS: Table = Table("LiteLLM_ModelTable");
    /// Users.
    pub const USERS: Table = Table("LiteLLM_UserTable");
    /// Organizations.
    pub const ORGANIZATIONS: Table = Table("LiteLLM_OrganizationTable");
    /// Who is in which organization.
    pub const ORGANIZATION_MEMBERS: Table = Table("LiteLLM_OrganizationMembership");
    /// Budgets that keys, members, end users and tags may share.
    pub const BUDGETS: Table = Table("LiteLLM_BudgetTable");
    /// End users (customers).
    pub const END_USERS: Table = Table("LiteLLM_EndUserTable");
    /// Tags.
    pub const TAGS: Table = Table("LiteLLM_TagTable");
    /// Models that were made by the API.
    pub const MODELS: Table = Table("LiteLLM_ProxyModelTable");
    /// Stored credentials.
    pub const CREDENTIALS: Table = Table("LiteLLM_CredentialsTable");
    /// Settings that were made by the API.
    pub const CONFIG: Table = Table("LiteLLM_Config");
    /// One row a request.
    pub const SPEND_LOGS: Table = Table("LiteLLM_SpendLogs");
    /// Who changed what.
    pub const AUDIT: Table = Table("LiteLLM_AuditLog");
    /// Invitations of users.
    pub const INVITATIONS: Table = Table("LiteLLM_InvitationLink");
    /// Keys that were made anew and work on for a while.
    pub const OLD_KEYS: Table = Table("LiteLLM_DeprecatedVerificationToken");
    /// A day's spend of a user.
    pub const DAILY_USERS: Table = Table("LiteLLM_DailyUserSpend");
    /// A day's spend of a team.
    pub const DAILY_TEAMS: Table = Table("LiteLLM_DailyTeamSpend");
    /// A day's spend of a tag.
    pub const DAILY_TAGS: Table = Table("LiteLLM_DailyTagSpend");
    /// A day's spend of an organization.
    pub const DAILY_ORGANIZATIONS: Table = Table("LiteLLM_DailyOrganizationSpend");
    /// A day's spend of an end user.
    pub const DAILY_END_USERS: Table = Table("LiteLLM_DailyEndUserSpend");
    /// A day's spend.
    pub const DAILY_GLOBAL: Table = Table("LiteLLM_DailyGlobalSpend");

    /// Groups of models and more that keys and teams are given by id.
    pub const ACCESS_GROUPS: Table = Table("LiteLLM_AccessGroupTable");
    /// Which key stands for the bearers of an identity provider's tokens.
    pub const JWT_KEYS: Table = Table("LiteLLM_JWTKeyMapping");

    /// All of them.
    pub const ALL: &'static [Table] = &[
        Table::KEYS,
        Table::DELETED_KEYS,
        Table::TEAMS,
        Table::TEAM_MEMBERS,
        Table::TEAM_MODELS,
        Table::USERS,
        Table::ORGANIZATIONS,
        Table::ORGANIZATION_MEMBERS,
        Table::BUDGETS,
        Table::END_USERS,
        Table::TAGS,
        Table::MODELS,
        Table::CREDENTIALS,
        Table::CONFIG,
        Table::SPEND_LOGS,
        Table::AUDIT,
        Table::INVITATIONS,
        Table::OLD_KEYS,
        Table::DAILY_USERS,
        Table::DAILY_TEAMS,
        Table::DAILY_TAGS,
        Table::DAILY_ORGANIZATIONS,
        Table::DAILY_END_USERS,
        Table::DAILY_GLOBAL,
        Table::ACCESS_GROUPS,
        Table::JWT_KEYS,
    ];

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// Its columns.
    pub fn shape(self) -> &'static Shape {
        &SCHEMA[self.0]
    }

    pub(super) fn postgres(self) -> &'static Statements {
        &POSTGRES[&self]
    }

    pub(super) fn sqlite(self) -> &'static Statements {
        &SQLITE[&self]
    }
}

/// The statements of one table in one dialect.
pub(super) struct Statements {
    pub get: String,
    pub insert: String,
    /// The same without an answer: whether there is a new row is told by their number.
    pub add_row: String,
    /// Replaces the row with the same key.
    pub put: String,
    pub update: String,
    pub delete: String,
    /// By key, ascending; filter, limit, offset.
    pub list: String,
    /// The newest first.
    pub list_newest: String,
    pub count: String,
    /// Adds to numbers of the row with the same unique values, or makes it.
    pub add: String,
}

static POSTGRES: LazyLock<BTreeMap<Table, Statements>> = LazyLock::new(|| {
    Table::ALL
        .iter()
        .map(|table| (*table, postgres(table.shape())))
        .collect()
});
static SQLITE: LazyLock<BTreeMap<Table, Statements>> = LazyLock::new(|| {
    Table::ALL
        .iter()
        .map(|table| (*table, sqlite(table.shape())))
        .collect()
});

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

fn joined(parts: impl Iterator<Item = String>, by: &str) -> String {
    parts.collect::<Vec<_>>().join(by)
}

fn columns(shape: &Shape, before: &str) -> String {
    let written = shape.known().filter(|column| !column.is_serial());
    joined(
        written.map(|column| format!("{before}\"{}\"", column.name)),
        ", ",
    )
}

fn key(shape: &Shape) -> String {
    joined(shape.key().map(|column| quoted(&column.name)), ", ")
}

fn by_key(shape: &Shape, first: usize, mark: char) -> String {
    let conditions = shape.key().enumerate().map(|(at, column)| {
        let cast = if column.kind == Kind::Integer && mark == '$' {
            "::text::integer"
        } else {
            ""
        };
        format!("t.\"{}\" = {mark}{}{cast}", column.name, first + at)
    });
    joined(conditions, " AND ")
}

fn newest(shape: &Shape) -> String {
    let dated = shape
        .columns
        .iter()
        .any(|column| column.name == "created_at");
    let key = key(shape);
    if dated {
        format!("\"created_at\" DESC, {key}")
    } else {
        key
    }
}

/// The unique columns that `add` finds its row by: the longest unique index.
fn unique(shape: &Shape) -> String {
    let found = shape
        .indexes
        .iter()
        .filter(|(.., unique)| *unique)
        .map(|(_, text, _)| text);
    let longest = found.max_by_key(|text| text.len());
    longest.map_or_else(
        || key(shape),
        |text| {
            text.trim_start_matches("btree (")
                .trim_end_matches(')')
                .to_owned()
        },
    )
}

fn sums(shape: &Shape) -> String {
    let counted = shape
        .known()
        .filter(|column| matches!(column.kind, Kind::Float | Kind::Big) && !column.nullable);
    let sums = counted.map(|column| format!("\"{0}\" = t.\"{0}\" + EXCLUDED.\"{0}\"", column.name));
    let updated = std::iter::once("\"updated_at\" = EXCLUDED.\"updated_at\"".to_owned());
    joined(sums.chain(updated), ", ")
}

fn replaced(shape: &Shape) -> String {
    let rest = shape
        .known()
        .filter(|column| !column.is_serial() && !column.key);
    joined(
        rest.map(|column| format!("\"{0}\" = EXCLUDED.\"{0}\"", column.name)),
        ", ",
    )
}

fn postgres(shape: &Shape) -> Statements {
    let name = quoted(&shape.name);
    let all = columns(shape, "");
    let from_record = columns(shape, "r.");
    let filter = joined(shape.known().filter_map(postgres_condition), " AND ");
    let insert = format!(
        "INSERT INTO {name} AS t ({all}) SELECT {from_record} \
         FROM jsonb_populate_recordset(NULL::{name}, $1::text::jsonb) r"
    );
    let list = |order: &str| {
        format!(
            "SELECT to_jsonb(t)::text FROM {name} t WHERE {filter} ORDER BY {order} \
             LIMIT $2::text::bigint OFFSET $3::text::bigint"
        )
    };
    Statements {
        get: format!(
            "SELECT to_jsonb(t)::text FROM {name} t WHERE {}",
            by_key(shape, 1, '$')
        ),
        insert: format!("{insert} ON CONFLICT DO NOTHING RETURNING to_jsonb(t)::text"),
        add_row: format!("{insert} ON CONFLICT DO NOTHING"),
        put: format!(
            "{insert} ON CONFLICT ({}) DO UPDATE SET {} RETURNING to_jsonb(t)::text",
            key(shape),
            replaced(shape)
        ),
        update: format!(
            "UPDATE {name} t SET ({all}) = (SELECT {from_record} \
             FROM jsonb_populate_record(t, $1::text::jsonb) r) WHERE {} RETURNING to_jsonb(t)::text",
            by_key(shape, 2, '$')
        ),
        delete: format!(
            "DELETE FROM {name} t WHERE {} RETURNING to_jsonb(t)::text",
            by_key(shape, 1, '$')
        ),
        list: list(&key(shape)),
        list_newest: list(&newest(shape)),
        count: format!("SELECT count(*)::text FROM {name} t WHERE {filter}"),
        add: format!(
            "{insert} ON CONFLICT ({}) DO UPDATE SET {}",
            unique(shape),
            sums(shape)
        ),
    }
}

/// The filter is one JSON object: a text is compared, null looks for NULL, a list's column must
/// hold the text. What is not named is not asked for, which the planner sees.
fn postgres_condition(column: &super::schema::Column) -> Option<String> {
    let name = &column.name;
    let filter = "$1::text::jsonb";
    let test = match column.kind {
        Kind::Text => format!("t.\"{name}\" = ({filter} ->> '{name}')"),
        Kind::List => format!("t.\"{name}\" @> ARRAY[{filter} ->> '{name}']"),
        _ => return None,
    };
    Some(format!(
        "(NOT ({filter} ? '{name}') OR ({filter} ->> '{name}' IS NULL AND t.\"{name}\" IS NULL) \
         OR {test})"
    ))
}

fn sqlite(shape: &Shape) -> Statements {
    let name = quoted(&shape.name);
    let all = columns(shape, "");
    let read = joined(
        shape.known().map(|column| format!("t.\"{}\"", column.name)),
        ", ",
    );
    let written = shape.known().filter(|column| !column.is_serial());
    let marks = joined(
        written.enumerate().map(|(at, _)| format!("?{}", at + 1)),
        ", ",
    );
    let filter = joined(shape.known().filter_map(sqlite_condition), " AND ");
    let back = joined(shape.known().map(|column| quoted(&column.name)), ", ");
    let insert = format!("INSERT INTO {name} AS t ({all}) VALUES ({marks})");
    let list = |order: &str| {
        format!("SELECT {read} FROM {name} t WHERE {filter} ORDER BY {order} LIMIT ?2 OFFSET ?3")
    };
    let width = shape.known().filter(|column| !column.is_serial()).count();
    let changed = shape
        .known()
        .filter(|column| !column.is_serial())
        .enumerate();
    let changed = joined(
        changed.map(|(at, c)| format!("\"{}\" = ?{}", c.name, at + 1)),
        ", ",
    );
    Statements {
        get: format!(
            "SELECT {read} FROM {name} t WHERE {}",
            by_key(shape, 1, '?')
        ),
        insert: format!("{insert} ON CONFLICT DO NOTHING RETURNING {back}"),
        add_row: format!("{insert} ON CONFLICT DO NOTHING"),
        put: format!(
            "{insert} ON CONFLICT ({}) DO UPDATE SET {} RETURNING {back}",
            key(shape),
            replaced(shape)
        ),
        update: format!(
            "UPDATE {name} AS t SET {changed} WHERE {} RETURNING {back}",
            by_key(shape, width + 1, '?')
        ),
        delete: format!(
            "DELETE FROM {name} AS t WHERE {} RETURNING {back}",
            by_key(shape, 1, '?')
        ),
        list: list(&key(shape)),
        list_newest: list(&newest(shape)),
        count: format!("SELECT count(*) FROM {name} t WHERE {filter}"),
        add: format!(
            "{insert} ON CONFLICT ({}) DO UPDATE SET {}",
            unique(shape),
            sums(shape)
        ),
    }
}

fn sqlite_condition(column: &super::schema::Column) -> Option<String> {
    let name = &column.name;
    let path = format!("'$.\"{name}\"'");
    let test = match column.kind {
        Kind::Text => format!("t.\"{name}\" = (?1 ->> {path})"),
        Kind::List => format!(
            "EXISTS (SELECT 1 FROM json_each(t.\"{name}\") e WHERE e.value = (?1 ->> {path}))"
        ),
        _ => return None,
    };
    Some(format!(
        "(json_type(?1, {path}) IS NULL \
         OR (json_type(?1, {path}) = 'null' AND t.\"{name}\" IS NULL) OR {test})"
    ))
}
