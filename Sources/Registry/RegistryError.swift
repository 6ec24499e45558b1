package import OCISpec

/// A failure of a registry. `code` is what machines branch on.
package struct RegistryError: Error, Sendable, CustomStringConvertible, ImageSourceFailure {
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

  package init(
    _ code: Code, registry: String, repository: String, stage: String, _ detail: String, cause: (any Error)? = nil
  ) {
    self.code = code
    self.registry = registry
    self.repository = repository
    self.stage = stage
    self.detail = detail
    self.cause = cause
  }

  package var description: String { "\(registry)/\(repository): \(stage): \(detail)" }

  package var failureKind: ImageSourceFailureKind {
    switch code {
    case .notFound: .notFound
    case .unauthorized: .denied
    case .rateLimited, .unavailable: .unavailable
    case .invalid: .invalid
    case .unsupported: .unsupported
    case .corrupt: .corrupt
    case .tooLarge: .tooLarge
    case .cancelled: .cancelled
    }
  }
}
