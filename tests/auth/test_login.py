def test_the_fixtures_log_in(owner_client):
    with owner_client.session_transaction() as session:
        assert session["_user_id"]
