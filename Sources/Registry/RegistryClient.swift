internal import AsyncHTTPClient
internal import Kernel
package import Logging
internal import NIOCore
internal import NIOHTTP1
package import OCISpec

/// Credentials for one registry, as CRI's AuthConfig or a docker config file gives them.
package struct RegistryCredentials: Hashable, Sendable, CustomStringConvertible {
  package var username: String
  package var password: String
  /// An OAuth2 refresh token, instead of name and password.
  package var identityToken: String?
  /// A bearer token for the registry itself, instead of all others.
  package var registryToken: String?

  package init(username: String = "", password: String = "", identityToken: String? = nil, registryToken: String? = nil)
  {
    self.username = username
    self.password = password
    self.identityToken = identityToken
    self.registryToken = registryToken
  }

  /// Names that people write for the registry that images without one are of.
  private static let dockerHub: Set<String> = ["docker.io", "registry-1.docker.io", DockerConfig.dockerHubKey]

  /// Whether credentials that came with the address of a server, as "https://host:5000/v2/", are those of a registry.
  package static func areMeant(by server: String, for registry: String) -> Bool {
    let names = [DockerConfig.host(server), registry.lowercased()]
    return names[0] == names[1] || names.allSatisfy(dockerHub.contains)
  }

  /// Never shows a secret.
  package var description: String { "credentials(\(username.isEmpty ? "token" : username))" }
}

package struct RegistryOptions: Sendable {
  /// Directory of HOST/hosts.toml; nil for none.
  package var hostsDirectory: String?
  /// A docker config.json; nil for none.
  package var dockerConfigPath: String?
  /// Directories of docker's credential helpers, as in PATH; nil takes PATH itself.
  package var helperPath: String?
  package var retry = RegistryRetry()
  package var proxies = RegistryProxies.environment
  /// Seconds without a byte after which a connection is given up.
  package var readTimeoutSeconds: Int64 = 60

  package init(hostsDirectory: String? = nil, dockerConfigPath: String? = nil) {
    self.hostsDirectory = hostsDirectory
    self.dockerConfigPath = dockerConfigPath
  }
}

/// Pulls from registries: the distribution specification over HTTPS, mirrors, credentials.
/// - SeeAlso: OCI distribution-spec 1.1.
package final class RegistryClient: Sendable {
  private let options: RegistryOptions
  private let log: Logger
  private let transport: RegistryTransport

  package init(options: RegistryOptions, log: Logger) {
    self.options = options
    self.log = log
    transport = RegistryTransport(readTimeoutSeconds: options.readTimeoutSeconds, proxies: options.proxies)
    for problem in options.proxies.problems { log.warning("registry: \(problem)") }
  }

  /// Closes all connections. Call once, before the last reference goes.
  package func shutdown() async throws { try await transport.shutdown() }

  // MARK: Manifests

  /// The manifest that `reference` leads to on `platform`, its digest and size checked.
  package func resolve(
    _ reference: ImageReference, platform: Platform, credentials: RegistryCredentials?
  ) async throws(RegistryError) -> ResolvedImage {
    let asked = try await document(reference, reference.target, credentials, resolving: reference.digest == nil)
    if let digest = reference.digest { try check(asked, digest, nil, reference) }
    let target = Digest(sha256: SHA256Hasher.hash(asked.bytes))
    let subject = "manifest \(target)"
    do {
      switch try ImageDocument.parse(asked.bytes, mediaType: asked.mediaType, in: subject) {
      case .manifest(let manifest):
        let descriptor = Descriptor(mediaType: manifest.mediaType, digest: target, size: Int64(asked.bytes.count))
        return ResolvedImage(descriptor: descriptor, manifestBytes: asked.bytes, targetDigest: target)
      case .index(let index):
        let descriptor = try index.select(platform, in: "index \(target)")
        let chosen = try await document(reference, descriptor.digest.description, credentials, resolving: false)
        try check(chosen, descriptor.digest, descriptor.size, reference)
        return ResolvedImage(descriptor: descriptor, manifestBytes: chosen.bytes, targetDigest: target)
      }
    } catch let error as ImageSpecError {
      let code: RegistryError.Code =
        switch error.code {
        case .invalid: .invalid
        case .unsupported, .noMatch: .unsupported
        case .tooLarge: .tooLarge
        }
      throw failed(code, reference, "read manifest", "\(error)", error)
    } catch let error as RegistryError {
      throw error
    } catch {
      throw failed(.invalid, reference, "read manifest", "\(error)", error)
    }
  }

  private struct Document {
    var bytes: [UInt8]
    var mediaType: String?
  }

  private func document(
    _ reference: ImageReference, _ target: String, _ credentials: RegistryCredentials?, resolving: Bool
  ) async throws(RegistryError) -> Document {
    let stage = "resolve manifest \(target)"
    return try await overEndpoints(reference, credentials, stage, resolving: resolving) { exchange in
      var exchange = exchange
      exchange.path = "manifests/\(target)"
      exchange.accept = MediaType.acceptedManifests
      return try await self.retrying { [exchange] in
        let response = try await self.transport.send(exchange)
        let bytes = try await RegistryTransport.collect(response, exchange, bytesMax: ImageLimits.manifestBytesMax)
        let announced = response.headers.first(name: "docker-content-digest")
        let found = Digest(sha256: SHA256Hasher.hash(bytes))
        if let announced, announced.hasPrefix("sha256:"), announced != found.description {
          let detail = "the registry announces \(ImageReference.shown(announced)), its bytes have digest \(found)"
          throw ExchangeFailure(error: exchange.failed(.corrupt, detail), mayPass: true)
        }
        let type = response.headers.first(name: "content-type").map { String($0.prefix { $0 != ";" && $0 != " " }) }
        // Some answer with what a web server thinks of a file; the document itself says what it is then.
        let isVague = ["application/json", "application/octet-stream", "text/plain", ""].contains(type ?? "")
        return Document(bytes: bytes, mediaType: isVague ? nil : type)
      }
    }
  }

  private func check(
    _ document: Document, _ digest: Digest, _ size: Int64?, _ reference: ImageReference
  ) throws(RegistryError) {
    let found = Digest(sha256: SHA256Hasher.hash(document.bytes))
    guard found == digest, size.map({ $0 == Int64(document.bytes.count) }) ?? true else {
      let wanted = size.map { " of \($0) bytes" } ?? ""
      let detail =
        "asked for \(digest)\(wanted), came as \(found) of \(document.bytes.count) bytes; the registry is wrong"
      throw failed(.corrupt, reference, "verify manifest", detail)
    }
  }

  // MARK: Blobs

  /// Sends the bytes of a blob from `offset` on, never more than its size; a broken connection is resumed by Range where
  /// it broke. The digest is the receiver's to check.
  /// - Throws: `RegistryError`, or what `receive` throws.
  package func openBlob(
    _ reference: ImageReference, _ blob: Descriptor, offset: Int64, credentials: RegistryCredentials?,
    receive: @escaping @Sendable ([UInt8]) async throws -> Void
  ) async throws {
    let position = BlobPosition(received: offset, size: blob.size)
    do {
      let stage = "fetch blob \(blob.digest)"
      try await overEndpoints(reference, credentials, stage, resolving: false) { exchange in
        var exchange = exchange
        exchange.path = "blobs/\(blob.digest)"
        exchange.timeoutSeconds = RegistryTransport.blobTimeoutSeconds
        try await self.retrying(progress: { await position.received }) { [exchange] in
          try await self.stream(exchange, position, receive)
        }
      }
    } catch {
      throw (error.cause as? ReceiverFailure)?.cause ?? error
    }
  }

  /// How far a blob came, over all its connections.
  private actor BlobPosition {
    private(set) var received: Int64
    let size: Int64
    init(received: Int64, size: Int64) {
      self.received = received
      self.size = size
    }
    func advance(_ count: Int) { received += Int64(count) }
  }

  private struct ReceiverFailure: Error { let cause: any Error }

  private func stream(
    _ original: Exchange, _ position: BlobPosition, _ receive: @Sendable ([UInt8]) async throws -> Void
  ) async throws {
    var exchange = original
    let start = await position.received
    if start == position.size && start > 0 { return }
    exchange.offset = start
    let response = try await transport.send(exchange)
    var skip = try bytesToSkip(response, exchange, position.size)
    var received = start
    do {
      for try await buffer in response.body {
        let chunk = Array(buffer.readableBytesView.dropFirst(Int(min(skip, Int64(buffer.readableBytes)))))
        skip -= min(skip, Int64(buffer.readableBytes))
        if chunk.isEmpty { continue }
        received += Int64(chunk.count)
        guard received <= position.size else {
          throw ExchangeFailure(
            error: exchange.failed(.corrupt, "sends more than the \(position.size) bytes that the manifest says"))
        }
        do { try await receive(chunk) } catch { throw ReceiverFailure(cause: error) }
        await position.advance(chunk.count)
      }
    } catch let failure as ExchangeFailure {
      throw failure
    } catch let failure as ReceiverFailure {
      throw ExchangeFailure(error: exchange.failed(.cancelled, "the receiver stopped", failure))
    } catch {
      throw RegistryTransport.broken(error, exchange, "broke off after \(received) of \(position.size) bytes")
    }
    guard received == position.size else {
      let detail = "ended after \(received) of \(position.size) bytes"
      throw ExchangeFailure(error: exchange.failed(.corrupt, detail), mayPass: true)
    }
  }

  /// How much of the answer was received before: nothing where the registry resumed, all of it where it knows no Range.
  private func bytesToSkip(_ response: HTTPClientResponse, _ exchange: Exchange, _ size: Int64) throws -> Int64 {
    let length = response.headers.first(name: "content-length").flatMap { Int64($0) }
    if response.status == .partialContent {
      let range = response.headers.first(name: "content-range") ?? ""
      guard range.hasPrefix("bytes \(exchange.offset)-") else {
        let detail = "asked for bytes from \(exchange.offset), was answered with \(ImageReference.shown(range))"
        throw ExchangeFailure(error: exchange.failed(.corrupt, detail))
      }
      return 0
    }
    if let length, length != size {
      let detail = "the registry has \(length) bytes, the manifest says \(size)"
      throw ExchangeFailure(error: exchange.failed(.corrupt, detail))
    }
    return exchange.offset
  }

  // MARK: Endpoints and tries

  /// Asks mirror after mirror, then the registry itself; the last one's error counts.
  private func overEndpoints<R: Sendable>(
    _ reference: ImageReference, _ credentials: RegistryCredentials?, _ stage: String, resolving: Bool,
    _ body: (Exchange) async throws -> R
  ) async throws(RegistryError) -> R {
    let endpoints = try RegistryHosts.endpoints(reference.registry, directory: options.hostsDirectory)
      .filter { resolving ? $0.resolves : $0.pulls }
    var last = failed(.invalid, reference, stage, "hosts.toml leaves no host that may be asked for this")
    for endpoint in endpoints {
      do {
        let exchange = Exchange(
          endpoint: endpoint, registry: reference.registry, repository: reference.repository, path: "",
          credentials: try await self.credentials(endpoint, reference, credentials), stage: stage,
          timeoutSeconds: RegistryTransport.documentTimeoutSeconds)
        return try await body(exchange)
      } catch let failure as ExchangeFailure {
        last = failure.error
      } catch let error as RegistryError {
        last = error
      } catch {
        last = failed(Task.isCancelled ? .cancelled : .invalid, reference, stage, "\(error)", error)
      }
      if last.code == .cancelled { throw last }
      if endpoint.isMirror { log.warning("registry: mirror failed", metadata: ["error": "\(last)"]) }
    }
    throw last
  }

  /// What the caller gave goes to the registry itself and never to a mirror of it.
  private func credentials(
    _ endpoint: RegistryEndpoint, _ reference: ImageReference, _ given: RegistryCredentials?
  ) async throws(RegistryError) -> RegistryCredentials? {
    if let given, !endpoint.isMirror { return given }
    guard let path = options.dockerConfigPath, let config = try DockerConfig(path: path, helperPath: options.helperPath)
    else { return nil }
    return try await config.credentials(endpoint.isMirror ? endpoint.base.authority : reference.registry)
  }

  /// Tries again what may pass; progress in between starts the count anew.
  private func retrying<R: Sendable>(
    progress: () async -> Int64 = { 0 }, _ body: () async throws -> R
  ) async throws -> R {
    var attempt = 1
    var before = await progress()
    while true {
      do {
        return try await body()
      } catch let failure as ExchangeFailure where failure.mayPass {
        let now = await progress()
        if now > before { attempt = 1 }
        before = now
        guard attempt < options.retry.attemptsMax else { throw failure }
        attempt += 1
        log.debug("registry: trying again", metadata: ["attempt": "\(attempt)", "error": "\(failure.error)"])
        let delay = options.retry.delay(before: attempt, retryAfterSeconds: failure.retryAfterSeconds)
        try await Task.sleep(for: .nanoseconds(delay))
      }
    }
  }

  private func failed(
    _ code: RegistryError.Code, _ reference: ImageReference, _ stage: String, _ detail: String,
    _ cause: (any Error)? = nil
  ) -> RegistryError {
    RegistryError(
      code, registry: reference.registry, repository: reference.repository, stage: stage, detail, cause: cause)
  }
}
