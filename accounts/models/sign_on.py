"""Rows of single sign-on: providers, and who somebody is there."""

from django.db import models

from accounts.fields import EncryptedTextField
from accounts.models.people import User


class Provider(models.Model):
    """An OpenID or OAuth2 provider; those of config/hub.json are of this class too, and never saved."""

    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=60)
    issuer = models.CharField(max_length=500)
    oauth2 = models.JSONField(
        default=dict, blank=True
    )  # journeys.Endpoints, where it has no OpenID
    client_id = models.CharField(max_length=300)
    client_secret = EncryptedTextField(blank=True)
    group_claim = models.CharField(max_length=100, blank=True, default="groups")
    roles = models.JSONField(default=dict, blank=True)  # group -> role
    teams = models.JSONField(default=dict, blank=True)  # group -> name of a team
    default_role = models.CharField(max_length=64, blank=True)  # of whom no group names; "": none
    makes_accounts = models.BooleanField(default=True)
    vouches_factor = models.BooleanField(default=False)  # it asks for a second factor itself
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    secret_file = ""  # of those of the configuration file

    class Meta:
        ordering = ("name", "pk")

    def __str__(self) -> str:
        return self.name


class Identity(models.Model):
    """Who a person is for an issuer. Nothing else, no e-mail address, tells whose account it is."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="identities")
    issuer = models.CharField(max_length=500)
    subject = models.CharField(max_length=255)
    label = models.CharField(max_length=200, blank=True)  # for the eye only
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("created_at", "pk")
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="identity_once")]

    def __str__(self) -> str:
        return f"{self.label or self.subject} at {self.issuer}"
