"""Rows of API clients that signed in: what a refresh token stands for."""

from django.db import models

from accounts.models.keys import ApiKey
from accounts.models.people import User


class Grant(models.Model):
    """One sign-in of a program; its tokens are derived from this row and the pepper, not stored."""

    public_id = models.CharField(max_length=16, unique=True)
    salt = models.BinaryField(max_length=32)
    generation = models.PositiveIntegerField(default=1)  # of the refresh token that works
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="grants")
    key = models.ForeignKey(  # with which it was asked for: its limits hold, and its end
        ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="grants"
    )
    scopes = models.JSONField(default=list)
    proof = models.CharField(max_length=64)  # changes with the password
    name = models.CharField(max_length=200, blank=True)  # the program's own words
    address = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    refreshed_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-pk")

    def __str__(self) -> str:
        return f"{self.public_id} of {self.user_id}"
