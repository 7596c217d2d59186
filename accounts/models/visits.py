"""Rows of signed-in browsers, and of what signing in asks for."""

from django.db import models

from accounts.models.people import User


class Visit(models.Model):
    """A browser that is signed in; it ends with its session."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="visits")
    session_key = models.CharField(max_length=40, unique=True)
    device = models.CharField(max_length=200, blank=True)  # the browser's own words
    address = models.CharField(max_length=64, blank=True)
    how = models.CharField(max_length=16, blank=True)  # password, totp, passkey, recovery, sso
    created_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-seen_at", "-pk")

    def __str__(self) -> str:
        return f"visit of {self.user_id} since {self.created_at:%Y-%m-%d %H:%M}"


class SignInRules(models.Model):
    """One row: whom signing in asks for a second factor."""

    roles_with_factor = models.JSONField(default=list, blank=True)  # names of roles

    def __str__(self) -> str:
        return "rules of signing in"
