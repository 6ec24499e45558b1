package import Logging
package import OCISpec

/// Credentials for one registry, as CRI's AuthConfig or a docker config file gives them.
package struct RegistryCredentials: Hashable, Sendable, CustomStringConvertible {
  package var username: String
  package var password: String
  /// An OAuth2 refresh token, instead of name and password.
  package var identityToken: String?
  /// A bearer token for the registry itself, instead of all others.
  package var registryToken: String?

  package init(username: String = "", password: String = "", identityToken: String? = nil, registryToken: String? = nil) {
    self.username = username
    self.password = password
    self.identityToken = identityToken
    self.registryToken = registryToken
  }

  /// Never shows a secret.
  package var description: String { "credentials(\(username.isEmpty ? "token" : username))" }
}

package struct RegistryOptions: Hashable, Sendable {
  /// Directory of HOST/hosts.toml; nil for none.
  package var hostsDirectory: String?
  /// A docker config.json; nil for none.
  package var dockerConfigPath: String?

  package init(hostsDirectory: String? = nil, dockerConfigPath: String? = nil) {
    self.hostsDirectory = hostsDirectory
    self.dockerConfigPath = dockerConfigPath
  }
}

/// Pulls from registries: the distribution specification over HTTPS, mirrors, credentials.
/// - SeeAlso: OCI distribution-spec 1.1.
package final class RegistryClient: Sendable {
  package init(options: RegistryOptions, log: Logger) throws { fatalError() }

  /// The manifest that `reference` leads to on `platform`, its digest and size checked.
  package func resolve(
    _ reference: ImageReference, platform: Platform, credentials: RegistryCredentials?
  ) async throws(RegistryError) -> ResolvedImage { fatalError() }

  /// Sends the bytes of a blob from `offset` on. A broken connection is resumed by Range where it broke.
  package func openBlob(
    _ reference: ImageReference, _ blob: Descriptor, offset: Int64, credentials: RegistryCredentials?,
    receive: @escaping @Sendable ([UInt8]) async throws -> Void
  ) async throws { fatalError() }

  /// Closes all connections. Call once, before the last reference goes.
  package func shutdown() async throws { fatalError() }
}

/// A failure of a registry. `code` is what machines branch on.
package struct RegistryError: Error, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    case notFound, unauthorized, rateLimited, unavailable, invalid, unsupported, corrupt, tooLarge, cancelled
  }
  package var code: Code
  /// Host and port asked.
  package var registry: String
  package var repository: String
  /// "resolve manifest", "fetch blob sha256:…", "get token", …
  package var stage: String
  /// What happened and what to do.
  package var detail: String
  package var cause: (any Error)?

  package var description: String { "\(registry)/\(repository): \(stage): \(detail)" }
}
