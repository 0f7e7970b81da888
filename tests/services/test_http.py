"""The rules that every service call keeps: addresses, errors, retries, limits, redirects, and what is never shown."""

from __future__ import annotations

import datetime
import gzip
import ipaddress
import logging
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator

import httpx
import pytest

from iexec_nb.errors import ApiCallError, ConfigurationError, MarketCallError
from iexec_nb.protocol.types import Secret
from iexec_nb.services.http import MAX_BYTES, Http, backoff, new_client, origin

BASE = "https://market.example/ignored/path"


class Line:
    """A server of a list of answers, the last of them again and again; remembers the requests."""

    def __init__(self, *answers: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []
        self.now = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def http(self, base: str = BASE, **options: object) -> Http:
        return Http(
            base,
            service="Market API",
            error=MarketCallError,
            transport=httpx.MockTransport(self),
            sleep=self.sleep,
            clock=lambda: self.now,
            **options,  # type: ignore[arg-type]
        )


def ok(**body: object) -> httpx.Response:
    return httpx.Response(200, json={"ok": True, **body})


# --- addresses --------------------------------------------------------------------------------------------------------


def test_query_is_sorted_with_booleans_in_lower_case_and_none_dropped() -> None:
    line = Line(ok())
    line.http().get_json("/apporders", {"pageSize": 50, "dataset": "any", "isDatasetStrict": False, "app": None})
    assert str(line.requests[0].url) == (
        "https://market.example/apporders?dataset=any&isDatasetStrict=false&pageSize=50"
    )


def test_query_values_are_percent_encoded_as_the_javascript_sdk_does() -> None:
    line = Line(ok())
    line.http().get_json("/x", {"name": "a b&c=!'()*~é"})
    assert line.requests[0].url.query == b"name=a%20b%26c%3D%21%27%28%29%2A~%C3%A9"


def test_path_of_a_call_replaces_the_path_of_the_base() -> None:
    line = Line(ok())
    line.http("https://host.example:8443/v1/?key=abc").get_json("/challenge")
    assert str(line.requests[0].url) == "https://host.example:8443/challenge"


def test_reads_of_json_accept_json_and_bodies_are_compact_utf8_json() -> None:
    line = Line(ok())
    line.http().send_json("POST", "/x", {"order": {"params": '{"a":"hé"}', "n": "1"}})
    request = line.requests[0]
    assert request.content == '{"order":{"params":"{\\"a\\":\\"hé\\"}","n":"1"}}'.encode()
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "application/json"
    assert "python" not in request.headers["user-agent"]


def test_a_user_and_password_in_the_address_become_basic_authorization() -> None:
    line = Line(ok())
    line.http("https://user:pass@host.example/").get_json("/x")
    assert line.requests[0].headers["authorization"] == "Basic dXNlcjpwYXNz"
    assert str(line.requests[0].url) == "https://host.example/x"


def test_new_client_keeps_the_path_of_its_base() -> None:
    line = Line(ok())
    with new_client("https://node.example/v3/KEY", transport=httpx.MockTransport(line)) as client:
        client.post("", json={})
    assert str(line.requests[0].url).rstrip("/") == "https://node.example/v3/KEY"


@pytest.mark.parametrize(
    "base", ["ftp://host/secret", "market.example/secret", "", "https:///secret", "http://[::1/secret"]
)
def test_a_base_that_is_no_http_address_is_refused_without_showing_its_path(base: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Http(base, service="Market API")
    assert "secret" not in str(caught.value)
    assert "https://" in (caught.value.hint or "")


def test_origin_leaves_out_everything_but_scheme_host_and_port() -> None:
    assert origin("https://user:pass@host.example/path?query#part") == "https://host.example"
    assert origin("http://[::1]:8545/key") == "http://[::1]:8545"
    assert origin("nonsense") == "(no host)"


# --- errors -----------------------------------------------------------------------------------------------------------


def failure(line: Line, **options: object) -> MarketCallError:
    with pytest.raises(MarketCallError) as caught:
        line.http(**options).get_json("/x")
    return caught.value


def test_network_failure_has_the_text_of_the_sdk_and_its_cause() -> None:
    error = failure(Line(httpx.ConnectError("[Errno 111] Connection refused")))
    assert error.message == ("Market API error: Connection to https://market.example failed with a network error")
    assert error.status is None
    assert error.context["reason"] == "[Errno 111] Connection refused"
    assert isinstance(error.__cause__, httpx.ConnectError)


def test_a_host_that_no_name_server_can_be_asked_about_is_a_network_failure() -> None:
    # What the socket module raises for a part of a name of more than 63 letters.
    line = Line(UnicodeError("label empty or too long"))
    assert failure(line).context["reason"] == "UnicodeError"


@pytest.mark.parametrize("url", ["https://xn--", "https://xn--.example/x", "https://a\ud800"])
def test_a_host_that_is_no_name_is_not_an_address(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not an http or https address"):
        Http(url, service="Market API", error=MarketCallError)
    assert origin(url) in ("(not an address)", "(no host)")


def test_a_timeout_says_how_long_was_waited() -> None:
    assert failure(Line(httpx.ReadTimeout("")), timeout_s=2.5).context["reason"] == "no answer within 2.5 s"


def test_server_error_has_the_text_of_the_sdk() -> None:
    error = failure(Line(httpx.Response(503, text="down")))
    assert error.message == "Market API error: Server at https://market.example encountered an internal error"
    assert error.status == 503
    assert error.context["status"] == "503 Service Unavailable"


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (httpx.Response(404, json={"ok": False, "error": "apporder not found"}), "API error: apporder not found"),
        (httpx.Response(404, json={"ok": False}), "API error: 404 Not Found"),
        (httpx.Response(403, json=["no"]), "API error: 403 Forbidden"),
        (httpx.Response(200, text="<html>"), "The http response is not of JSON type"),
        (httpx.Response(404, text="<html>"), "The http response is not of JSON type"),
        (httpx.Response(200, content=b"{", headers={"content-type": "application/json"}), "not valid JSON"),
        (httpx.Response(200, content=b"[" * 99999, headers={"content-type": "application/json"}), "not valid JSON"),
        (httpx.Response(200, json=[1]), "The http response is not a JSON object"),
        (httpx.Response(599, json={}), "encountered an internal error"),
    ],
)
def test_answers_that_are_no_success_are_told_apart(response: httpx.Response, message: str) -> None:
    assert message in failure(Line(response)).message


def test_what_a_server_says_is_cut_and_cleaned_of_control_characters() -> None:
    error = failure(Line(httpx.Response(400, json={"error": "\x1b[31mred\x07\n" + "x" * 10_000})))
    assert "\x1b" not in str(error)
    assert "\x07" not in str(error)
    assert len(error.message) < 400


def test_rate_limit_is_not_hammered_and_says_how_long_to_wait() -> None:
    line = Line(httpx.Response(429, json={"error": "Rate limit exceeded"}, headers={"retry-after": "42"}))
    error = failure(line)
    assert (error.message, error.status, len(line.requests)) == ("API error: Rate limit exceeded", 429, 1)
    assert error.hint == "the server asks to wait 42 s"


# --- what is never shown ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [httpx.ConnectError("refused"), httpx.Response(500), httpx.Response(302, headers={"location": "/y"})],
)
def test_no_error_and_no_frame_of_its_traceback_shows_url_header_or_body(answer: httpx.Response | Exception) -> None:
    line = Line(answer)
    http = line.http("https://user:SECRET@market.example/SECRET")
    with pytest.raises(MarketCallError) as caught:
        http.request("POST", "/p", content=Secret("SECRET"), headers={"authorization": Secret("SECRET")})
    assert line.requests[0].content == b"SECRET"
    assert line.requests[0].headers["authorization"] == "SECRET"
    assert "SECRET" not in str(caught.value) + repr(caught.value) + repr(http)
    # Our own frames, as a notebook prints them with the values of local variables.
    own = [
        "".join(frame.locals.values()) if frame.locals else ""
        for frame in traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
        if frame.filename.endswith("services/http.py")
    ]
    assert own
    assert not [text for text in own if "SECRET" in text]


def test_a_request_prints_without_the_path_that_may_hold_a_key() -> None:
    with new_client("https://node.example/v3/KEY") as client:
        assert repr(client.build_request("POST", "")) == "<Request('POST', 'https://node.example')>"


def test_log_lines_of_our_requests_show_the_host_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = httpx.Response(200, json={}, extensions={"reason_phrase": b"KEY"})
    Line(answer).http("https://node.example/KEY").get_json("/v3/KEY", {"token": "KEY"})
    assert "https://node.example" in caplog.text
    assert "KEY" not in caplog.text


def test_log_lines_of_other_people_s_requests_stay_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Line(ok()).http().get_json("/x")
    with httpx.Client(transport=httpx.MockTransport(Line(ok()))) as client:
        client.get("https://other.example/path")
    assert "https://other.example/path" in caplog.text


# --- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [httpx.ConnectError("refused"), httpx.ReadError("reset"), httpx.Response(502)])
def test_a_read_is_repeated_after_network_failures_and_server_errors(first: httpx.Response | Exception) -> None:
    line = Line(first, first, ok(value=1))
    assert line.http().get_json("/x")["value"] == 1
    assert len(line.requests) == 3
    assert 0.1 <= line.slept[0] <= 0.2 <= line.slept[1] <= 0.4


def test_a_head_request_is_repeated() -> None:
    line = Line(httpx.Response(503), httpx.Response(204))
    assert line.http().request("HEAD", "/x").status_code == 204


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("answer", [httpx.ConnectError("refused"), httpx.ReadTimeout(""), httpx.Response(503)])
def test_nothing_but_a_read_is_ever_sent_twice(method: str, answer: httpx.Response | Exception) -> None:
    line = Line(answer, httpx.Response(200))
    with pytest.raises(MarketCallError) as caught:
        line.http().request(method, "/x", json={})
    assert (len(line.requests), line.slept) == (1, [])
    if isinstance(answer, Exception):
        assert "may have arrived" in (caught.value.hint or "")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429])
def test_a_refusal_is_not_asked_again(status: int) -> None:
    line = Line(httpx.Response(status))
    assert line.http().request("GET", "/x").status_code == status
    assert len(line.requests) == 1


def test_retries_stop_when_the_time_of_the_call_is_used_up() -> None:
    line = Line(httpx.ConnectError("refused"))

    def slow(request: httpx.Request) -> httpx.Response:
        line.now += 0.9
        raise httpx.ConnectError("refused")

    line.answers = [slow]
    failure(line, timeout_s=1.0, retries=5)
    assert len(line.requests) == 1


def test_each_try_gets_only_the_time_that_is_left() -> None:
    line = Line(httpx.Response(500))

    def slow(request: httpx.Request) -> httpx.Response:
        line.now += 4.0
        return httpx.Response(500)

    line.answers = [slow]
    failure(line, timeout_s=10.0)
    limits = [request.extensions["timeout"]["read"] for request in line.requests]
    assert limits[0] == 10.0
    assert limits[1] < 6.0
    assert limits[2] < 2.0


def test_backoff_grows_with_jitter_up_to_a_limit() -> None:
    assert 0.1 <= backoff(0) <= 0.2
    assert all(2.5 <= backoff(attempt) <= 5.0 for attempt in (10, 100))
    assert len({backoff(3) for _ in range(20)}) > 1


# --- limits -----------------------------------------------------------------------------------------------------------


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 2**20


def test_an_answer_without_end_is_cut_off() -> None:
    error = failure(Line(lambda request: httpx.Response(200, content=endless())))
    assert f"larger than {MAX_BYTES} bytes" in error.message


def test_an_announced_size_beyond_the_limit_is_refused_before_it_is_read() -> None:
    def untouchable() -> Iterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    line = Line(lambda r: httpx.Response(200, content=untouchable(), headers={"content-length": str(10**30)}))
    assert "larger than" in failure(line).message
    assert len(line.requests) == 1


def test_a_compressed_answer_counts_with_its_real_size() -> None:
    bomb = gzip.compress(b" " * (MAX_BYTES + 1))
    line = Line(lambda r: httpx.Response(200, content=iter([bomb]), headers={"content-encoding": "gzip"}))
    assert "larger than" in failure(line).message


def test_a_compressed_answer_is_read() -> None:
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    line = Line(lambda r: httpx.Response(200, content=gzip.compress(b'{"ok":true}'), headers=headers))
    assert line.http().get_json("/x") == {"ok": True}


def test_an_answer_that_drips_is_given_up_within_the_timeout() -> None:
    line = Line(ok())

    def drip() -> Iterator[bytes]:
        while True:
            line.now += 1.0
            yield b" "

    line.answers = [lambda request: httpx.Response(200, content=drip())]
    assert failure(line, timeout_s=5.0).context["reason"] == "no answer within 5 s"
    assert line.now < 8.0


# --- redirects --------------------------------------------------------------------------------------------------------


def redirect(to: str, status: int = 302) -> httpx.Response:
    return httpx.Response(status, headers={"location": to})


def test_a_read_follows_a_redirect() -> None:
    line = Line(redirect("https://other.example/y"), ok(value=2))
    assert line.http().get_json("/x")["value"] == 2
    assert str(line.requests[1].url) == "https://other.example/y"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_write_follows_no_redirect(method: str, status: int) -> None:
    line = Line(redirect("https://other.example/y", status), ok())
    with pytest.raises(MarketCallError, match="redirects elsewhere") as caught:
        line.http().request(method, "/x", content=b"secret")
    assert len(line.requests) == 1
    assert caught.value.context["target"] == "https://other.example"


def test_a_read_with_credentials_follows_no_redirect() -> None:
    line = Line(redirect("https://other.example/y"), ok())
    with pytest.raises(MarketCallError, match="redirects elsewhere"):
        line.http().request("GET", "/x", headers={"authorization": "token"})
    assert len(line.requests) == 1


def test_no_redirect_leads_from_https_to_http() -> None:
    line = Line(redirect("http://market.example/x"), ok())
    assert "redirects elsewhere" in failure(line).message
    assert len(line.requests) == 1


def test_a_circle_of_redirects_ends() -> None:
    line = Line(redirect("https://market.example/x"))
    failure(line)
    assert len(line.requests) == 6


# --- streaming --------------------------------------------------------------------------------------------------------


def test_an_answer_is_read_as_it_comes() -> None:
    line = Line(lambda request: httpx.Response(200, content=iter([b"ab", b"cd"])))
    with line.http().open("/f", {"format": "raw"}, headers={"accept": "x/y"}) as stream:
        assert (stream.status, stream.received) == (200, 0)
        assert list(stream.chunks(4)) == [b"ab", b"cd"]
        assert stream.received == 4
    sent = line.requests[0]
    assert (sent.headers["accept-encoding"], sent.headers["accept"], str(sent.url)) == (
        "identity", "x/y", "https://market.example/f?format=raw",
    )  # fmt: skip


def test_a_stream_longer_than_allowed_is_refused() -> None:
    line = Line(lambda request: httpx.Response(200, content=iter([b"ab", b"cd"])))
    with line.http().open("/f") as stream, pytest.raises(MarketCallError, match="larger than 3 bytes"):
        list(stream.chunks(3))
    with (
        Line(httpx.Response(200, content=b"abcd")).http().open("/f") as stream,
        pytest.raises(MarketCallError, match="larger than 3 bytes"),
    ):
        list(stream.chunks(3))
    assert stream.received == 0


def test_a_stream_is_asked_again_before_its_first_byte_and_not_after_it() -> None:
    def breaks() -> Iterator[bytes]:
        yield b"ab"
        raise httpx.ReadError("reset")

    line = Line(httpx.Response(503), lambda request: httpx.Response(200, content=breaks()))
    with line.http().open("/f") as stream, pytest.raises(MarketCallError, match="broke after 2 bytes"):
        list(stream.chunks(100))
    assert len(line.requests) == 2


def test_an_answer_of_any_status_below_500_can_be_read_and_a_later_one_is_an_error() -> None:
    with Line(httpx.Response(404, content=b"no")).http().open("/f") as stream:
        assert (stream.status, b"".join(stream.chunks(10))) == (404, b"no")
    with pytest.raises(MarketCallError, match="internal error") as caught:
        Line(httpx.Response(500)).http().open("/f")
    assert caught.value.status == 500


@pytest.mark.parametrize(
    ("status", "header", "first"),
    [(206, "bytes 5-9/10", 5), (206, "", 0), (206, "bytes x-9/10", 0), (200, "bytes 5-9/10", 0), (206, "pages 5-9", 0)],
)
def test_where_a_part_of_an_answer_begins_is_what_the_server_says(status: int, header: str, first: int) -> None:
    with Line(httpx.Response(status, headers={"content-range": header}, content=b"")).http().open("/f") as stream:
        assert stream.first == first


def test_what_a_stream_is_stands_in_its_headers_whatever_they_hold() -> None:
    for given, meant in [("Application/X; a=b", "application/x"), ("", ""), (";", "")]:
        with Line(httpx.Response(200, headers={"content-type": given}, content=b"")).http().open("/f") as stream:
            assert stream.content_type == meant
    for given, length in [("3", 3), ("-1", None), ("1" * 30, None), ("x", None)]:
        with Line(httpx.Response(200, headers={"content-length": given})).http().open("/f") as stream:
            assert stream.length == length


def test_a_server_that_drips_is_given_up_and_a_slow_reader_is_not() -> None:
    def drips(line: Line, pause_s: float, size: int) -> Iterator[bytes]:
        for _ in range(100):
            line.now += pause_s
            yield bytes(size)

    line = Line(httpx.Response(200))
    line.answers = [lambda request: httpx.Response(200, content=drips(line, 4.0, 1))]
    with line.http().open("/f") as stream, pytest.raises(MarketCallError, match="as good as nothing"):
        list(stream.chunks(1000))
    assert stream.received == 3
    line.answers = [lambda request: httpx.Response(200, content=drips(line, 4.0, 5000))]
    with line.http().open("/f") as stream:
        assert sum(map(len, stream.chunks(10**6))) == 500_000
    line.answers = [lambda request: httpx.Response(200, content=drips(line, 0.0, 1))]
    with line.http().open("/f") as stream:
        for _ in stream.chunks(1000):
            line.now += 60
    assert stream.received == 100


# --- real sockets -----------------------------------------------------------------------------------------------------


def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        http = Http(f"http://127.0.0.1:{silent.getsockname()[1]}", service="Market API", timeout_s=0.2)
        with pytest.raises(ApiCallError) as caught:
            http.get_json("/x")
        http.close()
    assert caught.value.context["reason"] == "no answer within 0.2 s"


def test_a_closed_port_is_a_network_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    http = Http(f"http://127.0.0.1:{port}", service="Market API", sleep=lambda seconds: None)
    with pytest.raises(ApiCallError, match=f"Connection to http://127.0.0.1:{port} failed"):
        http.get_json("/x")
    http.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: object) -> None:
    with TlsServer(str(tmp_path)) as port:
        http = Http(f"https://127.0.0.1:{port}", service="SMS", retries=0)
        with pytest.raises(ApiCallError) as caught:
            http.get_json("/x")
        http.close()
    assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)


class TlsServer:
    """A TLS server on loopback with a certificate of its own making."""

    def __init__(self, folder: str) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
        start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=30))
            .add_extension(alternative, critical=False)
            .sign(key, hashes.SHA256())
        )
        path = f"{folder}/server.pem"
        with open(path, "wb") as file:
            file.write(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
            file.write(certificate.public_bytes(serialization.Encoding.PEM))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(path)

    def __enter__(self) -> int:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()
        return int(self.socket.getsockname()[1])

    def _serve(self) -> None:
        connection, _ = self.socket.accept()
        with connection:
            try:
                self.context.wrap_socket(connection, server_side=True).close()
            except OSError:
                return

    def __exit__(self, *details: object) -> None:
        self.thread.join()
        self.socket.close()
