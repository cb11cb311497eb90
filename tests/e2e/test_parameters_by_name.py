"""Every parameter of the sections about authentication, database, keys and limits has an end-to-end test
named after it, or stands below among those whose effect is not built. The counts are printed (`-s`)."""

import ast
import json
from pathlib import Path

HERE = Path(__file__).parent
SCHEMA = json.loads((HERE.parents[1] / "config" / "schema.json").read_text())
REFERENCE = (HERE.parents[1] / "config" / "PARAMETERS.md").read_text()

AUTHENTICATION = """master_key enable_jwt_auth litellm_jwtauth allowed_routes admin_only_routes public_routes allowed_ips
    use_x_forwarded_for enforce_user_param enforced_params user_header_name user_header_mappings enable_oauth2_auth
    enable_oauth2_proxy_auth oauth2_config_mappings trusted_proxies trusted_proxy_ranges custom_auth
    custom_auth_run_common_checks custom_sso custom_ui_sso_sign_in_handler allow_user_auth user_api_key_cache_ttl
    ui_access_mode disable_master_key_return litellm_license litellm_key_header_name infer_model_from_keys
    allow_client_side_credentials use_client_credentials_pass_through_routes reject_clientside_metadata_tags"""
DATABASE = """database_url database_connection_pool_limit database_connection_timeout allow_requests_on_db_unavailable
    disable_spend_logs disable_spend_updates disable_error_logs disable_reset_budget
    disable_adding_master_key_hash_to_db store_model_in_db supported_db_objects store_prompts_in_spend_logs
    maximum_spend_logs_retention_period disable_prisma_schema_update use_redis_transaction_buffer proxy_batch_write_at
    proxy_budget_rescheduler_min_time proxy_budget_rescheduler_max_time journal_sync_ms store_audit_logs
    disable_end_user_cost_tracking credential_list litellm_credential_name
    extra_spend_tag_headers"""
KEYS = """key_management_system key_management_settings use_azure_key_vault use_google_kms use_aws_secret_manager
    default_team_disabled custom_key_generate service_account_settings key_type key_generation_settings team_key_generation
    personal_key_generation allowed_team_member_roles allowed_user_roles required_params default_key_generate_params
    upperbound_key_generate_params default_internal_user_params default_team_params default_team_settings
    enable_key_alias_format_validation store_virtual_keys prefix_for_stored_virtual_keys"""
LIMITS = """global_max_parallel_requests max_request_size_mb max_response_size_mb max_budget budget_duration
    budget_exceeded_status_code max_user_budget max_end_user_budget max_end_user_budget_id max_internal_user_budget
    internal_user_budget_duration provider_budget_config tag_budget_config token_rate_limit_type priority_reservation
    blocked_user_list banned_keywords_list timezone cost_discount_config cost_margin_config"""
SECTIONS = {"authentication": AUTHENTICATION, "database": DATABASE, "keys": KEYS, "limits": LIMITS}


def named():
    """The names of all test functions."""
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield node.name


def in_force():
    """What the reference page says of each name: True where any parameter of that name is in force."""
    force = {}
    for line in REFERENCE.splitlines():
        cells = [cell.strip() for cell in line.replace("\\|", "/").split("|")]
        if len(cells) > 5 and cells[1].startswith("`"):
            name = cells[1].strip("`")
            force[name] = force.get(name, False) or cells[5] == "yes"
    return force


def test_every_parameter_in_force_has_a_test_of_its_name():
    names, force = list(named()), in_force()
    missing, counts = [], {}
    for section, text in SECTIONS.items():
        parameters = text.split()
        unknown = [p for p in parameters if p not in force]
        assert not unknown, f"not in config/PARAMETERS.md: {unknown}"
        held = [p for p in parameters if force[p]]
        missing += [p for p in held if not any(p in name for name in names)]
        counts[section] = f"{len(held)} of {len(parameters)} in force"
    print(counts)
    assert not missing, f"write a test named after each of {missing}"
