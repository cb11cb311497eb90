//! Our own questions to the database, in both dialects. Each answers one column: a JSON object a
//! row. Parameters are texts that the statement casts itself.

/// A question.
#[derive(Debug)]
pub struct Query {
    /// For Postgres.
    pub postgres: &'static str,
    /// For SQLite.
    pub sqlite: &'static str,
}

/// How far a writer of spend has come: `{"position": n}`, or nothing for one that is new.
pub static LEDGER_POSITION: Query = Query {
    postgres: "SELECT json_build_object('position', \"position\")::text \
               FROM \"Shardgate_Ledger\" WHERE \"writer\" = $1",
    sqlite: "SELECT json_object('position', \"position\") \
             FROM \"Shardgate_Ledger\" WHERE \"writer\" = ?1",
};

/// The tokens of keys in their order, after one, so many.
pub static TOKENS: Query = Query {
    postgres: "SELECT json_build_object('token', \"token\")::text \
        FROM (SELECT \"token\" FROM \"LiteLLM_VerificationToken\" WHERE \"token\" > $1::text \
        UNION SELECT \"token\" FROM \"LiteLLM_DeprecatedVerificationToken\" WHERE \"token\" > $1::text) t \
        ORDER BY \"token\" LIMIT $2::text::bigint",
    sqlite: "SELECT json_object('token', token) FROM \
        (SELECT token FROM \"LiteLLM_VerificationToken\" WHERE token > ?1 \
        UNION SELECT token FROM \"LiteLLM_DeprecatedVerificationToken\" WHERE token > ?1) \
        ORDER BY token LIMIT ?2",
};

/// Sums of a daily table by entity, day, key, model and provider: parameters are the first and last
/// day, and a key and an entity to look at alone (null for all).
macro_rules! days {
    ($table:literal, $entity:literal) => {
        Query {
            postgres: concat!(
                "SELECT json_build_object('date', \"date\", 'entity', \"",
                $entity,
                "\", 'api_key', \"api_key\", 'model', \"model\", 'model_group', \"model_group\", \
                 'provider', \"custom_llm_provider\", 'spend', sum(\"spend\"), \
                 'prompt_tokens', sum(\"prompt_tokens\"), \
                 'completion_tokens', sum(\"completion_tokens\"), \
                 'cache_read_input_tokens', sum(\"cache_read_input_tokens\"), \
                 'cache_creation_input_tokens', sum(\"cache_creation_input_tokens\"), \
                 'api_requests', sum(\"api_requests\"), \
                 'successful_requests', sum(\"successful_requests\"), \
                 'failed_requests', sum(\"failed_requests\"))::text FROM \"",
                $table,
                "\" WHERE \"date\" BETWEEN $1::text AND $2::text \
                 AND ($3::text IS NULL OR \"api_key\" = $3::text) \
                 AND ($4::text IS NULL OR \"",
                $entity,
                "\" = $4::text) GROUP BY \"date\", \"",
                $entity,
                "\", \"api_key\", \"model\", \"model_group\", \"custom_llm_provider\" \
                 ORDER BY \"date\""
            ),
            sqlite: concat!(
                "SELECT json_object('date', \"date\", 'entity', \"",
                $entity,
                "\", 'api_key', \"api_key\", 'model', \"model\", 'model_group', \"model_group\", \
                 'provider', \"custom_llm_provider\", 'spend', sum(\"spend\"), \
                 'prompt_tokens', sum(\"prompt_tokens\"), \
                 'completion_tokens', sum(\"completion_tokens\"), \
                 'cache_read_input_tokens', sum(\"cache_read_input_tokens\"), \
                 'cache_creation_input_tokens', sum(\"cache_creation_input_tokens\"), \
                 'api_requests', sum(\"api_requests\"), \
                 'successful_requests', sum(\"successful_requests\"), \
                 'failed_requests', sum(\"failed_requests\")) FROM \"",
                $table,
                "\" WHERE \"date\" BETWEEN ?1 AND ?2 AND (?3 IS NULL OR \"api_key\" = ?3) \
                 AND (?4 IS NULL OR \"",
                $entity,
                "\" = ?4) GROUP BY \"date\", \"",
                $entity,
                "\", \"api_key\", \"model\", \"model_group\", \"custom_llm_provider\" \
                 ORDER BY \"date\""
            ),
        }
    };
}

/// What calls cost since the first parameter, at one provider or deployment: `{"spend"}`.
macro_rules! spent_at {
    ($column:literal) => {
        Query {
            postgres: concat!(
                "SELECT json_build_object('spend', coalesce(sum(\"spend\"), 0))::text \
                 FROM \"LiteLLM_SpendLogs\" WHERE \"startTime\" >= $1::text::timestamp AND \"",
                $column,
                "\" = $2::text"
            ),
            sqlite: concat!(
                "SELECT json_object('spend', coalesce(sum(\"spend\"), 0)) \
                 FROM \"LiteLLM_SpendLogs\" WHERE \"startTime\" >= ?1 AND \"",
                $column,
                "\" = ?2"
            ),
        }
    };
}

/// Of a provider.
pub static SPENT_AT_PROVIDER: Query = spent_at!("custom_llm_provider");
/// Of a deployment.
pub static SPENT_AT_DEPLOYMENT: Query = spent_at!("model_id");

/// What calls of one model group cost since the first parameter, by who paid: `{"spend"}`. The second
/// parameter says who, the third the group.
macro_rules! spent_by {
    ($column:literal) => {
        Query {
            postgres: concat!(
                "SELECT json_build_object('spend', coalesce(sum(\"spend\"), 0))::text \
                 FROM \"LiteLLM_SpendLogs\" WHERE \"startTime\" >= $1::text::timestamp AND \"",
                $column,
                "\" = $2::text AND \"model_group\" = $3::text"
            ),
            sqlite: concat!(
                "SELECT json_object('spend', coalesce(sum(\"spend\"), 0)) \
                 FROM \"LiteLLM_SpendLogs\" WHERE \"startTime\" >= ?1 AND \"",
                $column,
                "\" = ?2 AND \"model_group\" = ?3"
            ),
        }
    };
}

/// Of a key.
pub static SPENT_BY_KEY: Query = spent_by!("api_key");
/// Of a team.
pub static SPENT_BY_TEAM: Query = spent_by!("team_id");
/// Of a user.
pub static SPENT_BY_USER: Query = spent_by!("user");

/// Removes up to 5,000 rows of calls that began before the parameter: `{"count"}`.
pub static FORGET_CALLS: Query = Query {
    postgres: "WITH gone AS (DELETE FROM \"LiteLLM_SpendLogs\" WHERE \"request_id\" IN \
        (SELECT \"request_id\" FROM \"LiteLLM_SpendLogs\" \
         WHERE \"startTime\" < $1::text::timestamp LIMIT 5000) RETURNING 1) \
        SELECT json_build_object('count', count(*))::text FROM gone",
    sqlite: "DELETE FROM \"LiteLLM_SpendLogs\" WHERE \"request_id\" IN \
        (SELECT \"request_id\" FROM \"LiteLLM_SpendLogs\" WHERE \"startTime\" < ?1 LIMIT 5000) \
        RETURNING json_object('count', 1)",
};

/// Days of users.
pub static USER_DAYS: Query = days!("LiteLLM_DailyUserSpend", "user_id");
/// Days of teams.
pub static TEAM_DAYS: Query = days!("LiteLLM_DailyTeamSpend", "team_id");
/// Days of tags.
pub static TAG_DAYS: Query = days!("LiteLLM_DailyTagSpend", "tag");
/// Days of end users.
pub static END_USER_DAYS: Query = days!("LiteLLM_DailyEndUserSpend", "end_user_id");
/// Days of organizations.
pub static ORGANIZATION_DAYS: Query = days!("LiteLLM_DailyOrganizationSpend", "organization_id");

/// Rows whose budget's period has ended by the parameter: `{"id", "budget_duration"}`.
macro_rules! due {
    ($table:literal, $key:literal) => {
        Query {
            postgres: concat!(
                "SELECT json_build_object('id', \"",
                $key,
                "\", 'budget_duration', \"budget_duration\")::text FROM \"",
                $table,
                "\" WHERE \"budget_reset_at\" <= $1::text::timestamp \
                 AND \"budget_duration\" IS NOT NULL LIMIT 10000"
            ),
            sqlite: concat!(
                "SELECT json_object('id', \"",
                $key,
                "\", 'budget_duration', \"budget_duration\") FROM \"",
                $table,
                "\" WHERE \"budget_reset_at\" <= ?1 AND \"budget_duration\" IS NOT NULL LIMIT 10000"
            ),
        }
    };
}

/// Keys whose budget starts anew.
pub static KEYS_DUE: Query = due!("LiteLLM_VerificationToken", "token");
/// Teams whose budget starts anew.
pub static TEAMS_DUE: Query = due!("LiteLLM_TeamTable", "team_id");
/// Users whose budget starts anew.
pub static USERS_DUE: Query = due!("LiteLLM_UserTable", "user_id");
/// Shared budgets that start anew.
pub static BUDGETS_DUE: Query = due!("LiteLLM_BudgetTable", "budget_id");

/// Values of a column of the last 10,000 calls of a window, in their order: `{"value"}`. Parameters: first and
/// last time, a user whose calls alone count, what values contain in small letters, how many, how many not.
macro_rules! seen {
    ($column:literal) => {
        Query {
            postgres: concat!(
                "SELECT json_build_object('value', v)::text FROM (SELECT DISTINCT v FROM (SELECT \"",
                $column,
                "\" AS v FROM \"LiteLLM_SpendLogs\" WHERE \"startTime\" >= $1::text::timestamp \
                 AND \"startTime\" <= $2::text::timestamp AND \"",
                $column,
                "\" <> '' AND ($3::text IS NULL OR \"user\" = $3::text) \
                 AND ($4::text IS NULL OR position($4::text IN lower(\"",
                $column,
                "\")) > 0) ORDER BY \"startTime\" DESC, \"request_id\" LIMIT 10000) recent \
                 ORDER BY v LIMIT $5::text::bigint OFFSET $6::text::bigint) paged"
            ),
            sqlite: concat!(
                "SELECT json_object('value', v) FROM (SELECT DISTINCT v FROM (SELECT \"",
                $column,
                "\" AS v FROM \"LiteLLM_SpendLogs\" WHERE startTime >= ?1 AND startTime <= ?2 AND \"",
                $column,
                "\" <> '' AND (?3 IS NULL OR \"user\" = ?3) AND (?4 IS NULL OR instr(lower(\"",
                $column,
                "\"), ?4) > 0) ORDER BY startTime DESC, request_id LIMIT 10000) \
                 ORDER BY v LIMIT ?5 OFFSET ?6)"
            ),
        }
    };
}

/// End users of calls.
pub static END_USERS_SEEN: Query = seen!("end_user");
/// Users of calls.
pub static USERS_SEEN: Query = seen!("user");

/// Takes up to 100 keys that are due to be renewed by the first parameter: until the second one nobody
/// else finds them. `{"id"}`
pub static TAKE_ROTATIONS: Query = Query {
    postgres: "UPDATE \"LiteLLM_VerificationToken\" SET \"key_rotation_at\" = $2::text::timestamp \
        WHERE \"token\" IN (SELECT \"token\" FROM \"LiteLLM_VerificationToken\" WHERE \"auto_rotate\" \
        AND \"rotation_interval\" IS NOT NULL \
        AND (\"key_rotation_at\" IS NULL OR \"key_rotation_at\" <= $1::text::timestamp) \
        LIMIT 100 FOR UPDATE SKIP LOCKED) RETURNING json_build_object('id', \"token\")::text",
    sqlite: "UPDATE \"LiteLLM_VerificationToken\" SET key_rotation_at = ?2 WHERE token IN \
        (SELECT token FROM \"LiteLLM_VerificationToken\" WHERE auto_rotate \
        AND rotation_interval IS NOT NULL AND (key_rotation_at IS NULL OR key_rotation_at <= ?1) \
        LIMIT 100) RETURNING json_object('id', token)",
};

/// Sets the spend of all who share the budget of the parameter to zero.
macro_rules! restart {
    ($table:literal, $key:literal) => {
        Query {
            postgres: concat!(
                "UPDATE \"",
                $table,
                "\" SET \"spend\" = 0 WHERE \"budget_id\" = $1::text \
                 RETURNING json_build_object('id', \"",
                $key,
                "\")::text"
            ),
            sqlite: concat!(
                "UPDATE \"",
                $table,
                "\" SET \"spend\" = 0 WHERE \"budget_id\" = ?1 RETURNING json_object('id', \"",
                $key,
                "\")"
            ),
        }
    };
}

/// Members of teams with a budget.
pub static RESTART_TEAM_MEMBERS: Query = restart!("LiteLLM_TeamMembership", "user_id");
/// Members of organizations with a budget.
pub static RESTART_MEMBERS: Query = restart!("LiteLLM_OrganizationMembership", "user_id");
/// Organizations with a budget.
pub static RESTART_ORGANIZATIONS: Query = restart!("LiteLLM_OrganizationTable", "organization_id");
/// End users with a budget.
pub static RESTART_END_USERS: Query = restart!("LiteLLM_EndUserTable", "user_id");
/// Tags with a budget.
pub static RESTART_TAGS: Query = restart!("LiteLLM_TagTable", "tag_name");
/// Keys with a shared budget.
pub static RESTART_KEYS: Query = restart!("LiteLLM_VerificationToken", "token");

/// Calls between two times, the newest first: from, to, key, user, team, end user, request id
/// (null for all), how many, how many to leave out. Without their texts.
pub static CALLS: Query = Query {
    postgres: "SELECT (to_jsonb(t) - 'messages' - 'response' - 'proxy_server_request')::text \
        FROM \"LiteLLM_SpendLogs\" t WHERE t.\"startTime\" >= $1::text::timestamp \
        AND t.\"startTime\" < $2::text::timestamp \
        AND ($3::text IS NULL OR t.\"api_key\" = $3::text) \
        AND ($4::text IS NULL OR t.\"user\" = $4::text) \
        AND ($5::text IS NULL OR t.\"team_id\" = $5::text) \
        AND ($6::text IS NULL OR t.\"end_user\" = $6::text) \
        ORDER BY t.\"startTime\" DESC, t.\"request_id\" \
        LIMIT $7::text::bigint OFFSET $8::text::bigint",
    sqlite: "SELECT json_object('request_id', request_id, 'call_type', call_type, \
        'api_key', api_key, 'spend', spend, 'total_tokens', total_tokens, \
        'prompt_tokens', prompt_tokens, 'completion_tokens', completion_tokens, \
        'startTime', startTime, 'endTime', endTime, 'completionStartTime', completionStartTime, \
        'model', model, 'model_id', model_id, 'model_group', model_group, \
        'custom_llm_provider', custom_llm_provider, 'api_base', api_base, 'user', \"user\", \
        'metadata', json(metadata), 'cache_hit', cache_hit, 'cache_key', cache_key, \
        'request_tags', json(request_tags), 'team_id', team_id, 'end_user', end_user, \
        'requester_ip_address', requester_ip_address, 'session_id', session_id, \
        'status', status, 'request_duration_ms', request_duration_ms) \
        FROM \"LiteLLM_SpendLogs\" WHERE startTime >= ?1 AND startTime < ?2 \
        AND (?3 IS NULL OR api_key = ?3) AND (?4 IS NULL OR \"user\" = ?4) \
        AND (?5 IS NULL OR team_id = ?5) AND (?6 IS NULL OR end_user = ?6) \
        ORDER BY startTime DESC, request_id LIMIT ?7 OFFSET ?8",
};

/// How many calls [`CALLS`] would find: its first six parameters.
pub static CALLS_COUNT: Query = Query {
    postgres: "SELECT json_build_object('count', count(*))::text \
        FROM \"LiteLLM_SpendLogs\" t WHERE t.\"startTime\" >= $1::text::timestamp \
        AND t.\"startTime\" < $2::text::timestamp \
        AND ($3::text IS NULL OR t.\"api_key\" = $3::text) \
        AND ($4::text IS NULL OR t.\"user\" = $4::text) \
        AND ($5::text IS NULL OR t.\"team_id\" = $5::text) \
        AND ($6::text IS NULL OR t.\"end_user\" = $6::text)",
    sqlite: "SELECT json_object('count', count(*)) FROM \"LiteLLM_SpendLogs\" \
        WHERE startTime >= ?1 AND startTime < ?2 AND (?3 IS NULL OR api_key = ?3) \
        AND (?4 IS NULL OR \"user\" = ?4) AND (?5 IS NULL OR team_id = ?5) \
        AND (?6 IS NULL OR end_user = ?6)",
};

/// Sums of calls by day, upstream, model, group and outcome: first and last day, a model group and a
/// key to look at alone (null for all), and from how many milliseconds on a call is slow.
pub static CALL_SUMS: Query = Query {
    postgres: "SELECT json_build_object('date', to_char(\"startTime\", 'YYYY-MM-DD'), \
        'api_base', \"api_base\", 'model', \"model\", 'model_group', \"model_group\", \
        'error_class', \"metadata\" -> 'error_information' ->> 'error_class', \
        'error_code', \"metadata\" -> 'error_information' ->> 'error_code', \
        'count', count(*), 'completion_tokens', sum(\"completion_tokens\"), \
        'duration_ms', sum(extract(epoch FROM \"endTime\" - \"startTime\") * 1000), \
        'first_token_ms', sum(extract(epoch FROM coalesce(\"completionStartTime\", \"endTime\") \
            - \"startTime\") * 1000), \
        'slow', count(*) FILTER (WHERE extract(epoch FROM \"endTime\" - \"startTime\") * 1000 \
            > $5::text::float8))::text \
        FROM \"LiteLLM_SpendLogs\" WHERE \"startTime\" >= $1::text::timestamp \
        AND \"startTime\" < $2::text::timestamp + interval '1 day' \
        AND ($3::text IS NULL OR \"model_group\" = $3::text) \
        AND ($4::text IS NULL OR \"api_key\" = $4::text) \
        GROUP BY to_char(\"startTime\", 'YYYY-MM-DD'), \"api_base\", \"model\", \"model_group\", \
        \"metadata\" -> 'error_information' ->> 'error_class', \
        \"metadata\" -> 'error_information' ->> 'error_code' \
        ORDER BY to_char(\"startTime\", 'YYYY-MM-DD')",
    sqlite: "SELECT json_object('date', substr(startTime, 1, 10), 'api_base', api_base, \
        'model', model, 'model_group', model_group, \
        'error_class', json_extract(metadata, '$.error_information.error_class'), \
        'error_code', json_extract(metadata, '$.error_information.error_code'), \
        'count', count(*), 'completion_tokens', sum(completion_tokens), \
        'duration_ms', sum((julianday(endTime) - julianday(startTime)) * 86400000.0), \
        'first_token_ms', sum((julianday(coalesce(completionStartTime, endTime)) \
            - julianday(startTime)) * 86400000.0), \
        'slow', count(*) FILTER (WHERE (julianday(endTime) - julianday(startTime)) \
            * 86400000.0 > CAST(?5 AS REAL))) \
        FROM \"LiteLLM_SpendLogs\" WHERE startTime >= ?1 AND startTime < date(?2, '+1 day') \
        AND (?3 IS NULL OR model_group = ?3) AND (?4 IS NULL OR api_key = ?4) \
        GROUP BY substr(startTime, 1, 10), api_base, model, model_group, \
        json_extract(metadata, '$.error_information.error_class'), \
        json_extract(metadata, '$.error_information.error_code') ORDER BY substr(startTime, 1, 10)",
};

/// How many rows LiteLLM's tables have: `{"table", "count"}`. Only Postgres can be another's.
pub static TABLES_IN_USE: Query = Query {
    postgres: "SELECT json_build_object('table', table_name, 'count', \
        substring(query_to_xml(format('SELECT count(*) AS c FROM (SELECT 1 FROM %I.%I LIMIT 100000) t', \
        table_schema, table_name), false, true, '')::text FROM '<c>([0-9]+)</c>')::bigint)::text \
        FROM information_schema.tables WHERE table_schema = current_schema() \
        AND table_name LIKE 'LiteLLM\\_%' AND table_name <> 'LiteLLM_SpendLogs'",
    sqlite: "SELECT json_object('table', name) FROM sqlite_master WHERE false",
};

/// Changes that callers of the management API made, the newest first: first and last day, who, its
/// key, the action, the table, the row (null for all), how many, how many to leave out.
pub static AUDIT_LOGS: Query = Query {
    postgres: "SELECT to_jsonb(t)::text FROM \"LiteLLM_AuditLog\" t WHERE ($1::text IS NULL OR t.\"updated_at\" >= $1::text::timestamp) \
        AND ($2::text IS NULL OR t.\"updated_at\" < $2::text::timestamp + interval '1 day') \
        AND ($3::text IS NULL OR t.\"changed_by\" = $3::text) \
        AND ($4::text IS NULL OR t.\"changed_by_api_key\" = $4::text) \
        AND ($5::text IS NULL OR t.\"action\" = $5::text) \
        AND ($6::text IS NULL OR t.\"table_name\" = $6::text) \
        AND ($7::text IS NULL OR t.\"object_id\" = $7::text) \
        ORDER BY t.\"updated_at\" DESC, t.\"id\" LIMIT $8::text::bigint OFFSET $9::text::bigint",
    sqlite: "SELECT json_object('id', id, 'updated_at', updated_at, 'changed_by', changed_by, \
        'changed_by_api_key', changed_by_api_key, 'action', action, 'table_name', table_name, \
        'object_id', object_id, 'before_value', json(before_value), \
        'updated_values', json(updated_values)) FROM \"LiteLLM_AuditLog\" WHERE (?1 IS NULL OR updated_at >= ?1) \
        AND (?2 IS NULL OR updated_at < date(?2, '+1 day')) \
        AND (?3 IS NULL OR changed_by = ?3) AND (?4 IS NULL OR changed_by_api_key = ?4) \
        AND (?5 IS NULL OR action = ?5) AND (?6 IS NULL OR table_name = ?6) \
        AND (?7 IS NULL OR object_id = ?7) \
        ORDER BY updated_at DESC, id LIMIT ?8 OFFSET ?9",
};

/// How many changes [`AUDIT_LOGS`] would find: its first seven parameters.
pub static AUDIT_COUNT: Query = Query {
    postgres: "SELECT json_build_object('count', count(*))::text FROM \"LiteLLM_AuditLog\" t \
        WHERE ($1::text IS NULL OR t.\"updated_at\" >= $1::text::timestamp) \
        AND ($2::text IS NULL OR t.\"updated_at\" < $2::text::timestamp + interval '1 day') \
        AND ($3::text IS NULL OR t.\"changed_by\" = $3::text) \
        AND ($4::text IS NULL OR t.\"changed_by_api_key\" = $4::text) \
        AND ($5::text IS NULL OR t.\"action\" = $5::text) \
        AND ($6::text IS NULL OR t.\"table_name\" = $6::text) \
        AND ($7::text IS NULL OR t.\"object_id\" = $7::text)",
    sqlite: "SELECT json_object('count', count(*)) FROM \"LiteLLM_AuditLog\" WHERE (?1 IS NULL OR updated_at >= ?1) \
        AND (?2 IS NULL OR updated_at < date(?2, '+1 day')) \
        AND (?3 IS NULL OR changed_by = ?3) AND (?4 IS NULL OR changed_by_api_key = ?4) \
        AND (?5 IS NULL OR action = ?5) AND (?6 IS NULL OR table_name = ?6) \
        AND (?7 IS NULL OR object_id = ?7)",
};

/// Calls by key, kind and model, with those that a cache answered: first and last day.
pub static CACHE_HITS: Query = Query {
    postgres: "SELECT json_build_object('api_key', \"api_key\", 'call_type', \"call_type\", \
        'model', \"model\", 'total_rows', count(*), \
        'cache_hit_true_rows', count(*) FILTER (WHERE \"cache_hit\" = 'True'), \
        'cached_completion_tokens', \
            coalesce(sum(\"completion_tokens\") FILTER (WHERE \"cache_hit\" = 'True'), 0), \
        'generated_completion_tokens', coalesce(sum(\"completion_tokens\") \
            FILTER (WHERE \"cache_hit\" IS DISTINCT FROM 'True'), 0))::text \
        FROM \"LiteLLM_SpendLogs\" WHERE \"startTime\" >= $1::text::timestamp \
        AND \"startTime\" < $2::text::timestamp + interval '1 day' \
        GROUP BY \"api_key\", \"call_type\", \"model\" ORDER BY count(*) DESC LIMIT 10000",
    sqlite: "SELECT json_object('api_key', api_key, 'call_type', call_type, 'model', model, \
        'total_rows', count(*), \
        'cache_hit_true_rows', count(*) FILTER (WHERE cache_hit = 'True'), \
        'cached_completion_tokens', \
            coalesce(sum(completion_tokens) FILTER (WHERE cache_hit = 'True'), 0), \
        'generated_completion_tokens', coalesce(sum(completion_tokens) \
            FILTER (WHERE cache_hit IS NOT 'True'), 0)) \
        FROM \"LiteLLM_SpendLogs\" WHERE startTime >= ?1 AND startTime < date(?2, '+1 day') \
        GROUP BY api_key, call_type, model ORDER BY count(*) DESC LIMIT 10000",
};

/// Keys by their spend, the highest first: how many, and a user (null for all).
pub static KEYS_BY_SPEND: Query = Query {
    postgres: "SELECT to_jsonb(t)::text FROM \"LiteLLM_VerificationToken\" t \
        WHERE ($2::text IS NULL OR t.\"user_id\" = $2::text) \
        ORDER BY t.\"spend\" DESC, t.\"token\" LIMIT $1::text::bigint",
    sqlite: "SELECT json_object('token', token, 'key_name', key_name, 'key_alias', key_alias, \
        'spend', spend, 'max_budget', max_budget, 'user_id', user_id, 'team_id', team_id, \
        'models', json(models), 'expires', expires, 'budget_duration', budget_duration) \
        FROM \"LiteLLM_VerificationToken\" WHERE (?2 IS NULL OR user_id = ?2) \
        ORDER BY spend DESC, token LIMIT ?1",
};

/// Users by their spend, the highest first: how many.
pub static USERS_BY_SPEND: Query = Query {
    postgres: "SELECT (to_jsonb(t) - 'password')::text FROM \"LiteLLM_UserTable\" t \
        ORDER BY t.\"spend\" DESC, t.\"user_id\" LIMIT $1::text::bigint",
    sqlite: "SELECT json_object('user_id', user_id, 'user_email', user_email, \
        'user_alias', user_alias, 'user_role', user_role, 'spend', spend, \
        'max_budget', max_budget, 'teams', json(teams), 'models', json(models)) \
        FROM \"LiteLLM_UserTable\" ORDER BY spend DESC, user_id LIMIT ?1",
};

/// All questions, for a test that asks each of both stores.
#[cfg(test)]
pub(super) static EVERY: [(&Query, usize); 35] = [
    (&END_USERS_SEEN, 6),
    (&USERS_SEEN, 6),
    (&TAKE_ROTATIONS, 2),
    (&SPENT_BY_KEY, 3),
    (&SPENT_BY_TEAM, 3),
    (&SPENT_BY_USER, 3),
    (&TABLES_IN_USE, 0),
    (&AUDIT_LOGS, 9),
    (&AUDIT_COUNT, 7),
    (&CALL_SUMS, 5),
    (&CACHE_HITS, 2),
    (&SPENT_AT_PROVIDER, 2),
    (&SPENT_AT_DEPLOYMENT, 2),
    (&FORGET_CALLS, 1),
    (&LEDGER_POSITION, 1),
    (&TOKENS, 2),
    (&USER_DAYS, 4),
    (&TEAM_DAYS, 4),
    (&TAG_DAYS, 4),
    (&END_USER_DAYS, 4),
    (&ORGANIZATION_DAYS, 4),
    (&KEYS_DUE, 1),
    (&TEAMS_DUE, 1),
    (&USERS_DUE, 1),
    (&BUDGETS_DUE, 1),
    (&RESTART_TEAM_MEMBERS, 1),
    (&RESTART_MEMBERS, 1),
    (&RESTART_ORGANIZATIONS, 1),
    (&RESTART_END_USERS, 1),
    (&RESTART_TAGS, 1),
    (&RESTART_KEYS, 1),
    (&CALLS, 8),
    (&CALLS_COUNT, 6),
    (&KEYS_BY_SPEND, 2),
    (&USERS_BY_SPEND, 1),
];
