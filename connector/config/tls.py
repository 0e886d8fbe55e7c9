"""The section on TLS, the same for every kind of source."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from connector.config.values import Section


class TlsSection(Section):
    """TLS. Certificates are checked against the system's authorities unless `ca_file` is given."""

    ca_file: Path | None = Field(default=None, description="PEM file of the server's certificate authority.")
    cert_file: Path | None = Field(default=None, description="PEM file of our own certificate (mutual TLS).")
    key_file: Path | None = Field(default=None, description="PEM file of the certificate's private key.")
    key_password: SecretStr | None = Field(default=None, description="Password of the private key.")
    verify: bool = Field(
        default=True,
        description="Check the server's certificate and name. `false` lets anybody in between read and change "
        "everything: for test networks only.",
    )

    @model_validator(mode="after")
    def _pair(self) -> TlsSection:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file without cert_file; give both for mutual TLS")
        return self

    @property
    def files(self) -> dict[str, Path | None]:
        """The files that it names, by their setting."""
        return {"tls.ca_file": self.ca_file, "tls.cert_file": self.cert_file, "tls.key_file": self.key_file}

    @property
    def warnings(self) -> list[str]:
        """What works, and is not wise."""
        return [] if self.verify else ["tls.verify is false: anybody in between can read and change everything"]
