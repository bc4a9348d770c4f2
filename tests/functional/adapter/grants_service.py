"""Grants are held by a service, which knows users and roles: the suite's classes for them run on one."""

import itertools

import pytest

USERS = ("suite_reader", "suite_writer", "suite_auditor")
_numbers = itertools.count()


class OnAService:
    """A branch of its own on the service of this session, of which three users have tokens."""

    @pytest.fixture(scope="class")
    def dbt_profile_target(self, service):
        process, token = service
        for user in USERS:
            process.token(user, "reader")
        target = {"type": "lakehouse", "threads": 4, "preflight": "warn", "service": process.url, "token": token}
        return {**target, "branch": f"grants-{next(_numbers)}"}

    @pytest.fixture(scope="class", autouse=True)
    def get_test_users(self, request):
        with pytest.MonkeyPatch.context() as patch:
            for number, user in enumerate(USERS, 1):
                patch.setenv(f"DBT_TEST_USER_{number}", user)
            # The project reads the environment when it is set up.
            request.getfixturevalue("project")
            yield list(USERS)
