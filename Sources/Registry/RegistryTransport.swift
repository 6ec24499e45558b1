import AsyncHTTPClient
import JSON
internal import Kernel
import NIOCore
import NIOHTTP1
import NIOSSL
import OCISpec
internal import Synchronization

/// How failures that may pass are tried again: after a random part of a delay that doubles.
package struct RegistryRetry: Sendable {
  /// Tries without progress, the first included.
  package var attemptsMax = 5
  package var firstDelayMilliseconds = 250
  package var delayMillisecondsMax = 10_000
  /// Longest Retry-After that is waited for.
  package var retryAfterSecondsMax = 30
  /// Gives a number from 0 up to 1.
  package var random: @Sendable () -> Double = { .random(in: 0..<1) }

  package init() {}

  /// Nanoseconds before try number `attempt` (2, 3, …).
  func delay(before attempt: Int, retryAfterSeconds: Int?) -> Int64 {
    if let seconds = retryAfterSeconds { return Int64(min(seconds, retryAfterSecondsMax)) * 1_000_000_000 }
    let whole = min(Double(delayMillisecondsMax), Double(firstDelayMilliseconds) * Double(1 << min(attempt - 2, 20)))
    return Int64(whole * (0.5 + random() / 2) * 1_000_000)
  }
}

/// A failed exchange, and whether trying again makes sense.
struct ExchangeFailure: Error {
  var error: RegistryError
  var mayPass = false
  var retryAfterSeconds: Int?
}

/// What one exchange is about.
struct Exchange: Sendable {
  var endpoint: RegistryEndpoint
  var registry: String
  var repository: String
  /// Below the repository: "manifests/latest".
  var path: String
  var credentials: RegistryCredentials?
  var accept: [String] = []
  var offset: Int64 = 0
  var stage: String
  /// Until the whole answer is there.
  var timeoutSeconds: Int64

  var url: RegistryURL {
    var url = endpoint.base
    url.path += "/\(repository)/\(path)"
    // Tells a mirror whose repository is meant, as containerd does.
    if endpoint.isMirror { url.path += "?ns=\(RegistryURL.escaped(registry))" }
    return url
  }

  func failed(_ code: RegistryError.Code, _ detail: String, _ cause: (any Error)? = nil) -> RegistryError {
    RegistryError(
      code, registry: endpoint.isMirror ? "\(registry) (mirror \(endpoint.base.authority))" : registry,
      repository: repository, stage: stage, detail, cause: cause)
  }
}

/// Requests to registries: authentication, redirects, and what statuses mean. Knows no documents.
final class RegistryTransport: Sendable {
  private let configuration: HTTPClient.Configuration
  private let proxies: RegistryProxies
  /// One client a proxy, made when it is first needed; nil is the way without one.
  private let clients = Mutex<[RegistryProxies.Proxy?: HTTPClient]>([:])
  private let tokens = Mutex<[TokenKey: Token]>([:])

  private struct TokenKey: Hashable {
    var origin: String
    var repository: String
    var credentials: RegistryCredentials?
  }
  private struct Token {
    var header: String
    /// Boot clock, nanoseconds.
    var expires: Int64
  }

  static let redirectsMax = 5
  /// Tokens remembered; all are dropped when there are more.
  private static let tokensMax = 1024
  /// Bytes of an answer that is an error, or a token.
  private static let smallAnswerBytesMax = 64 << 10
  private static let connectTimeoutSeconds: Int64 = 10
  static let documentTimeoutSeconds: Int64 = 60
  /// A whole blob; a line that says nothing is given up much earlier.
  static let blobTimeoutSeconds: Int64 = 24 * 3600
  /// Seconds that a token without expires_in is good for (distribution's token specification).
  private static let tokenSecondsDefault: Int64 = 60

  init(readTimeoutSeconds: Int64, proxies: RegistryProxies) {
    self.proxies = proxies
    var configuration = HTTPClient.Configuration(
      redirectConfiguration: .disallow,
      timeout: .init(connect: .seconds(Self.connectTimeoutSeconds), read: .seconds(readTimeoutSeconds)))
    configuration.httpVersion = .http1Only
    // Retries are counted and spaced here, not twice.
    configuration.connectionPool.retryConnectionEstablishment = false
    self.configuration = configuration
  }

  func shutdown() async throws {
    let all = clients.withLock { clients in
      defer { clients = [:] }
      return Array(clients.values)
    }
    for client in all { try await client.shutdown() }
  }

  private func client(for url: RegistryURL) -> HTTPClient {
    let proxy = proxies.proxy(for: url)
    return clients.withLock { clients in
      if let client = clients[proxy] { return client }
      var configuration = configuration
      configuration.proxy = proxy.map { proxy in
        let authorization = proxy.username.map {
          HTTPClient.Authorization.basic(username: $0, password: proxy.password)
        }
        return .server(host: proxy.host, port: proxy.port, authorization: authorization)
      }
      let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
      clients[proxy] = client
      return client
    }
  }

  // MARK: An exchange

  /// The answer, 200 or 206; its body is still to be read.
  /// - Throws: `ExchangeFailure`.
  func send(_ exchange: Exchange) async throws -> HTTPClientResponse {
    let key = TokenKey(
      origin: exchange.endpoint.base.description, repository: exchange.repository, credentials: exchange.credentials)
    var authorization = exchange.credentials?.registryToken.map { "Bearer \($0)" } ?? remembered(key)
    var wasAsked = false
    while true {
      let (response, isOwn) = try await following(exchange, authorization)
      if response.status == .unauthorized, isOwn, !wasAsked {
        wasAsked = true
        if let fresh = try await answer(response.headers["www-authenticate"], exchange, key) {
          authorization = fresh
          continue
        }
      }
      if response.status == .ok || response.status == .partialContent { return response }
      throw try await failure(response, exchange, isOwn: isOwn)
    }
  }

  /// - Returns: the answer, and that it came from the endpoint itself and not from where it redirected.
  private func following(_ exchange: Exchange, _ authorization: String?) async throws -> (HTTPClientResponse, Bool) {
    let first = exchange.url
    var url = first
    var isOwn = true
    for _ in 0...Self.redirectsMax {
      var request = HTTPClientRequest(url: url.description)
      request.headers.add(name: "User-Agent", value: "martlet")
      for type in exchange.accept { request.headers.add(name: "Accept", value: type) }
      if exchange.offset > 0 { request.headers.add(name: "Range", value: "bytes=\(exchange.offset)-") }
      // What identifies us goes to the endpoint only; storage behind a redirect has its permission in its URL.
      if isOwn {
        for (name, values) in exchange.endpoint.headers {
          for value in values { request.headers.add(name: name, value: value) }
        }
        if let authorization { request.headers.replaceOrAdd(name: "Authorization", value: authorization) }
      }
      request.tlsConfiguration = try tls(exchange, isOwn: isOwn)
      let response = try await execute(request, exchange, url)
      guard (301...308).contains(response.status.code), let location = response.headers.first(name: "location") else {
        return (response, isOwn)
      }
      guard let next = url.following(location) else {
        throw ExchangeFailure(
          error: exchange.failed(.invalid, "\(url.shown) redirects to something that is no http URL"))
      }
      guard next.scheme == "https" || url.scheme == "http" else {
        throw ExchangeFailure(
          error: exchange.failed(.invalid, "\(url.shown) redirects from https to plain http, which is refused"))
      }
      // Once away, it stays away: a second redirect back must not bring the credentials along.
      isOwn = isOwn && next.origin == first.origin
      url = next
    }
    throw ExchangeFailure(error: exchange.failed(.invalid, "redirects more than \(Self.redirectsMax) times"))
  }

  private func execute(_ request: HTTPClientRequest, _ exchange: Exchange, _ url: RegistryURL) async throws
    -> HTTPClientResponse
  {
    do {
      return try await client(for: url).execute(request, timeout: .seconds(exchange.timeoutSeconds))
    } catch {
      let way = proxies.proxy(for: url).map { " through the proxy \($0)" } ?? ""
      throw Self.broken(error, exchange, "cannot reach \(url.scheme)://\(url.authority)\(way)")
    }
  }

  /// A connection that failed, while opening or while reading.
  static func broken(_ error: any Error, _ exchange: Exchange, _ what: String) -> ExchangeFailure {
    if Task.isCancelled || error is CancellationError {
      return ExchangeFailure(error: exchange.failed(.cancelled, "was cancelled", error))
    }
    if let tls = error as? NIOSSLError {
      let detail =
        "\(what): TLS failed (\(tls)); give its authority as ca in hosts.toml, or http:// where it speaks no TLS"
      return ExchangeFailure(error: exchange.failed(.unavailable, detail, error))
    }
    let detail = "\(what): \(error); check that the registry is up and its name right"
    return ExchangeFailure(error: exchange.failed(.unavailable, detail, error), mayPass: true)
  }

  private func tls(_ exchange: Exchange, isOwn: Bool) throws -> TLSConfiguration? {
    let endpoint = exchange.endpoint
    let needsOwn = endpoint.skipVerify || !endpoint.clientCertificates.isEmpty
    guard !endpoint.authorities.isEmpty || (isOwn && needsOwn) else { return nil }
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.additionalTrustRoots = endpoint.authorities.map { .file($0) }
    if isOwn, endpoint.skipVerify { configuration.certificateVerification = .none }
    if isOwn, let client = endpoint.clientCertificates.first {
      do {
        let chain = try NIOSSLCertificate.fromPEMFile(client.certificate)
        configuration.certificateChain = chain.map { .certificate($0) }
        configuration.privateKey = .privateKey(
          try NIOSSLPrivateKey(file: client.key ?? client.certificate, format: .pem))
      } catch {
        throw ExchangeFailure(
          error: exchange.failed(
            .invalid, "the client certificate \(client.certificate) cannot be read: \(error)", error))
      }
    }
    return configuration
  }

  // MARK: Authentication

  private func remembered(_ key: TokenKey) -> String? {
    tokens.withLock { tokens in
      guard let token = tokens[key], token.expires > SystemClock.bootNanoseconds else { return nil }
      return token.header
    }
  }

  private func remember(_ key: TokenKey, _ header: String, seconds: Int64) {
    tokens.withLock { tokens in
      if tokens.count >= Self.tokensMax { tokens = [:] }
      // A little less than its life, so that it does not end on the way.
      tokens[key] = Token(
        header: header, expires: SystemClock.bootNanoseconds + (seconds - seconds / 10) * 1_000_000_000)
    }
  }

  /// The Authorization that a challenge asks for; nil where there is none that we can give.
  private func answer(_ headers: [String], _ exchange: Exchange, _ key: TokenKey) async throws -> String? {
    tokens.withLock { $0[key] = nil }
    let challenges = headers.flatMap(AuthChallenge.parse)
    if let bearer = challenges.first(where: { $0.scheme == "bearer" && $0.parameters["realm"] != nil }) {
      return try await token(bearer, exchange, key)
    }
    if challenges.contains(where: { $0.scheme == "basic" }), let basic = exchange.credentials?.basic {
      remember(key, basic, seconds: 3600)
      return basic
    }
    return nil
  }

  /// - SeeAlso: distribution's "Token Authentication Specification"; with an identity token its OAuth2 form.
  private func token(_ challenge: AuthChallenge, _ original: Exchange, _ key: TokenKey) async throws -> String {
    var exchange = original
    exchange.stage = "get token"
    let realm = challenge.parameters["realm"] ?? ""
    guard var url = RegistryURL(realm) else {
      throw ExchangeFailure(
        error: exchange.failed(.invalid, "its token service \(ImageReference.shown(realm)) is no http URL"))
    }
    guard url.scheme == "https" || exchange.endpoint.base.scheme == "http" else {
      throw ExchangeFailure(
        error: exchange.failed(.invalid, "its token service \(url.shown) is plain http, which is refused"))
    }
    let scope = challenge.parameters["scope"] ?? "repository:\(exchange.repository):pull"
    let service = challenge.parameters["service"]
    var request: HTTPClientRequest
    if let identity = exchange.credentials?.identityToken {
      request = HTTPClientRequest(url: url.description)
      request.method = .POST
      request.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
      let form = [
        ("grant_type", "refresh_token"), ("client_id", "martlet"), ("service", service ?? ""), ("scope", scope),
        ("refresh_token", identity),
      ]
      let text = form.map { "\($0.0)=\(RegistryURL.escaped($0.1))" }.joined(separator: "&")
      request.body = .bytes(ByteBuffer(string: text))
    } else {
      var query = "scope=\(RegistryURL.escaped(scope))"
      if let service { query += "&service=\(RegistryURL.escaped(service))" }
      url.path += (url.path.contains("?") ? "&" : "?") + query
      request = HTTPClientRequest(url: url.description)
      if let basic = exchange.credentials?.basic { request.headers.add(name: "Authorization", value: basic) }
    }
    request.headers.add(name: "User-Agent", value: "martlet")
    request.tlsConfiguration = try tls(exchange, isOwn: url.authority == exchange.endpoint.base.authority)
    exchange.timeoutSeconds = Self.documentTimeoutSeconds
    let response = try await execute(request, exchange, url)
    guard response.status == .ok else { throw try await failure(response, exchange, isOwn: true) }
    let bytes = try await Self.collect(response, exchange, bytesMax: Self.smallAnswerBytesMax)
    let json = try? JSONValue.parse(bytes, limits: JSONLimits(maxBytes: Self.smallAnswerBytesMax, maxDepth: 8))
    guard let token = json?["token"]?.string ?? json?["access_token"]?.string, !token.isEmpty,
      token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
    else { throw ExchangeFailure(error: exchange.failed(.invalid, "\(url.shown) answered without a token")) }
    let header = "Bearer \(token)"
    remember(key, header, seconds: min(max(json?["expires_in"]?.integer ?? Self.tokenSecondsDefault, 1), 86_400))
    return header
  }

  // MARK: Answers

  /// A body, whole.
  static func collect(_ response: HTTPClientResponse, _ exchange: Exchange, bytesMax: Int) async throws -> [UInt8] {
    var bytes: [UInt8] = []
    do {
      for try await chunk in response.body {
        bytes += chunk.readableBytesView
        guard bytes.count <= bytesMax else {
          throw ExchangeFailure(error: exchange.failed(.tooLarge, "the answer has more than \(bytesMax) bytes"))
        }
      }
    } catch let failure as ExchangeFailure {
      throw failure
    } catch {
      throw broken(error, exchange, "the answer broke off after \(bytes.count) bytes")
    }
    return bytes
  }

  private func failure(_ response: HTTPClientResponse, _ exchange: Exchange, isOwn: Bool) async throws
    -> ExchangeFailure
  {
    let body = (try? await Self.collect(response, exchange, bytesMax: Self.smallAnswerBytesMax)) ?? []
    let first = (try? JSONValue.parse(body))?["errors"]?[0]
    let words = [first?["code"]?.string, first?["message"]?.string].compactMap { $0 }.joined(separator: ": ")
    let said = words.isEmpty ? "" : " (\(String(words.prefix(300))))"
    let status = response.status.code
    let place = isOwn ? "" : " by the storage that it redirects to"
    switch status {
    case 401, 403:
      let detail =
        exchange.credentials == nil
        ? "\(status): access denied\(place)\(said); log in to the registry, or check the name: many answer so for what does not exist"
        : "\(status): the credentials were refused\(place)\(said); check user, password and the right to pull"
      return ExchangeFailure(error: exchange.failed(.unauthorized, detail))
    case 404:
      return ExchangeFailure(
        error: exchange.failed(.notFound, "404: not found\(place)\(said); check repository and tag"))
    case 429:
      let detail = "429: too many requests\(said); wait, or log in for a higher limit"
      let after = response.headers.first(name: "retry-after").flatMap { Int($0) }
      return ExchangeFailure(error: exchange.failed(.rateLimited, detail), mayPass: true, retryAfterSeconds: after)
    case 408, 500...599:
      let detail = "\(status): the registry failed\(place)\(said); try again later"
      let after = response.headers.first(name: "retry-after").flatMap { Int($0) }
      return ExchangeFailure(error: exchange.failed(.unavailable, detail), mayPass: true, retryAfterSeconds: after)
    case 416:
      return ExchangeFailure(error: exchange.failed(.corrupt, "416: the blob is shorter than its manifest says"))
    default:
      return ExchangeFailure(error: exchange.failed(.invalid, "answered \(status)\(place)\(said)"))
    }
  }
}

extension RegistryCredentials {
  /// For basic authentication; nil without a name.
  var basic: String? { username.isEmpty ? nil : "Basic \(Base64.encode("\(username):\(password)"))" }
}
