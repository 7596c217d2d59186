"""Fill a running hub with names that attack: `python -m tests.e2e.hostile`; `root` may see them all."""


def main() -> None:
    import django  # noqa: PLC0415 (pytest reads this module too)

    django.setup()

    from accounts import people  # noqa: PLC0415
    from accounts.models import User  # noqa: PLC0415
    from inference import catalog  # noqa: PLC0415
    from tests.accounts.hostile_names import MAKERS  # noqa: PLC0415
    from tests.e2e.prepare import PASSWORD  # noqa: PLC0415

    people.create("root", PASSWORD, role="admin")
    for make in MAKERS.values():
        make(User.objects.get(username="root"))
    catalog.invalidate()


if __name__ == "__main__":
    main()
