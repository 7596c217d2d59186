"""Rows of accounts, one module per noun."""

from accounts.models.applications import Application
from accounts.models.audit import AuditRow, AuditRows
from accounts.models.factors import Passkey, RecoveryCode, Totp
from accounts.models.grants import Grant
from accounts.models.keys import ApiKey, ApiKeys, KeyAddress
from accounts.models.limits import Holding, HoldingShare, Limit
from accounts.models.people import People, User
from accounts.models.roles import Role, scopes_of
from accounts.models.setup import SeenConfig, SetupLink, SetupStep
from accounts.models.sign_on import Identity, Provider
from accounts.models.teams import (
    Membership,
    Owned,
    OwnedRows,
    Team,
    Visibility,
    default_team_id,
)
from accounts.models.usage import Price, Usage, UsageTotal
from accounts.models.visits import SignInRules, Visit

__all__ = [
    "ApiKey",
    "ApiKeys",
    "Application",
    "AuditRow",
    "AuditRows",
    "Grant",
    "Holding",
    "HoldingShare",
    "Identity",
    "KeyAddress",
    "Limit",
    "Membership",
    "Owned",
    "OwnedRows",
    "Passkey",
    "People",
    "Price",
    "Provider",
    "RecoveryCode",
    "Role",
    "SeenConfig",
    "SetupLink",
    "SetupStep",
    "SignInRules",
    "Team",
    "Totp",
    "Usage",
    "UsageTotal",
    "User",
    "Visibility",
    "Visit",
    "default_team_id",
    "scopes_of",
]
