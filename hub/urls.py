"""Every URL that Django serves."""

urlpatterns: list[object] = []
