internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import Synchronization

/// The other end of a connection to be made.
package enum HTTPEndpoint: Sendable, Hashable, CustomStringConvertible {
  case unix(path: String)
  case tcp(host: String, port: Int)
  /// - Parameter serverName: the name that the server's certificate must hold; nil: the host.
  case tls(host: String, port: Int, serverName: String?, identity: HTTPDialIdentity)

  package var description: String {
    switch self {
    case .unix(let path): path
    case .tcp(let host, let port), .tls(let host, let port, _, _):
      host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
  }
}

/// What a client shows and whom it believes, as PEM.
package struct HTTPDialIdentity: Sendable, Hashable {
  package var authorities: [UInt8]
  package var certificateChain: [UInt8]
  package var privateKey: [UInt8]

  package init(authorities: [UInt8], certificateChain: [UInt8] = [], privateKey: [UInt8] = []) {
    self.authorities = authorities
    self.certificateChain = certificateChain
    self.privateKey = privateKey
  }
}

/// Why there is no answer.
package enum HTTPDialError: Error, CustomStringConvertible {
  case connect(endpoint: String, reason: String)
  case certificate(endpoint: String, reason: String)
  case exchange(endpoint: String, reason: String)
  case timedOut(endpoint: String, stage: String, seconds: Int)

  package var description: String {
    switch self {
    case .connect(let endpoint, let reason): "dial \(endpoint): \(reason)"
    case .certificate(let endpoint, let reason): "dial \(endpoint): TLS: \(reason)"
    case .exchange(let endpoint, let reason): "\(endpoint): \(reason)"
    case .timedOut(let endpoint, let stage, let seconds): "\(endpoint): \(stage): nothing for \(seconds) s"
    }
  }
}

/// An answer's head, and then its body or, after 101, the connection itself. Close it when done.
package struct HTTPDialedResponse: Sendable {
  package let status: Int
  package let headers: HTTPFields
  /// The body's bytes, decoded; after 101, the raw connection in both directions.
  package let tunnel: ByteTunnel

  package init(status: Int, headers: HTTPFields, tunnel: ByteTunnel) {
    self.status = status
    self.headers = headers
    self.tunnel = tunnel
  }
}

/// One request on a connection of its own (HTTP/1.1), for proxies: also one that asks for an upgrade.
package enum HTTPDialer {
  /// - Parameter target: path and query, escaped as they go over the wire.
  /// - Parameter timeoutSeconds: for connecting, and again for the answer's head.
  package static func send(
    method: String, target: String, headers: HTTPFields, body: [UInt8] = [], to endpoint: HTTPEndpoint,
    timeoutSeconds: Int = 30
  ) async throws(HTTPDialError) -> HTTPDialedResponse {
    var head = HTTPRequestHead(
      version: .http1_1, method: HTTPMethod(rawValue: method), uri: target, headers: headers.nio)
    if !head.headers.contains(name: "host") { head.headers.add(name: "Host", value: "\(endpoint.authority)") }
    if !body.isEmpty || ["POST", "PUT", "PATCH"].contains(method) {
      head.headers.replaceOrAdd(name: "Content-Length", value: "\(body.count)")
    }
    let loop = MultiThreadedEventLoopGroup.singletonMultiThreadedEventLoopGroup.next()
    let promise = loop.makePromise(of: HTTPDialedResponse.self)
    let channel: any Channel
    do throws(HTTPDialError) {
      channel = try await connect(to: endpoint, on: loop, promise, timeoutSeconds)
    } catch {
      promise.fail(error)
      throw error
    }
    let request = head
    let answer = await withTaskCancellationHandler {
      await exchange(request, body, channel, promise, endpoint, timeoutSeconds)
    } onCancel: {
      channel.close(promise: nil)
    }
    switch answer {
    case .success(let response): return response
    case .failure(let error):
      channel.close(promise: nil)
      throw error
    }
  }

  private static func connect(
    to endpoint: HTTPEndpoint, on loop: any EventLoop, _ promise: EventLoopPromise<HTTPDialedResponse>,
    _ timeoutSeconds: Int
  ) async throws(HTTPDialError) -> any Channel {
    let tls = try DialContexts.shared.context(for: endpoint)
    let name = endpoint.verifiedName
    let bootstrap = ClientBootstrap(group: loop)
      .connectTimeout(.seconds(Int64(timeoutSeconds)))
      .channelOption(ChannelOptions.allowRemoteHalfClosure, value: true)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let pipeline = channel.pipeline.syncOperations
          if let tls { try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: name)) }
          // From the start, so that a handshake that fails has somebody to tell.
          try pipeline.addHandlers([
            HTTPRequestEncoder(), ByteToMessageHandler(HTTPResponseDecoder(leftOverBytesStrategy: .forwardBytes)),
            DialHandler(promise, endpoint: "\(endpoint)"),
          ])
        }
      }
    do {
      switch endpoint {
      case .unix(let path): return try await bootstrap.connect(unixDomainSocketPath: path).get()
      case .tcp(let host, let port), .tls(let host, let port, _, _):
        // Nagle's waiting would cost a terminal 40 ms a key.
        return try await bootstrap.channelOption(ChannelOptions.tcpOption(.tcp_nodelay), value: 1)
          .connect(host: host, port: port).get()
      }
    } catch {
      throw .connect(endpoint: "\(endpoint)", reason: "\(error)")
    }
  }

  private static func exchange(
    _ head: HTTPRequestHead, _ body: [UInt8], _ channel: any Channel, _ promise: EventLoopPromise<HTTPDialedResponse>,
    _ endpoint: HTTPEndpoint, _ timeoutSeconds: Int
  ) async -> Result<HTTPDialedResponse, HTTPDialError> {
    let limit = channel.eventLoop.scheduleTask(in: .seconds(Int64(timeoutSeconds))) {
      promise.fail(HTTPDialError.timedOut(endpoint: "\(endpoint)", stage: "answer", seconds: timeoutSeconds))
    }
    promise.futureResult.whenComplete { _ in limit.cancel() }
    channel.write(HTTPClientRequestPart.head(head), promise: nil)
    if !body.isEmpty {
      channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: body))), promise: nil)
    }
    channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
    do {
      return .success(try await promise.futureResult.get())
    } catch let error as HTTPDialError {
      return .failure(error)
    } catch {
      return .failure(.exchange(endpoint: "\(endpoint)", reason: "\(error)"))
    }
  }
}

extension HTTPEndpoint {
  /// What stands in the field Host.
  var authority: String { if case .unix = self { "localhost" } else { description } }

  /// The name that the server's certificate must hold; nil: its address.
  var verifiedName: String? {
    guard case .tls(let host, _, let name, _) = self else { return nil }
    if let name { return name }
    let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
    return isAddress ? nil : host
  }
}

/// TLS contexts for the identities that were used last: making one takes longer than a handshake.
private final class DialContexts: Sendable {
  static let shared = DialContexts()
  private let cached = Mutex<[(identity: HTTPDialIdentity, context: NIOSSLContext)]>([])
  private static let cachedMax = 8

  func context(for endpoint: HTTPEndpoint) throws(HTTPDialError) -> NIOSSLContext? {
    guard case .tls(_, _, _, let identity) = endpoint else { return nil }
    if let known = cached.withLock({ $0.first { $0.identity == identity }?.context }) { return known }
    do {
      var configuration = TLSConfiguration.makeClientConfiguration()
      configuration.minimumTLSVersion = .tlsv12
      configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(identity.authorities))
      if !identity.certificateChain.isEmpty {
        configuration.certificateChain = try NIOSSLCertificate.fromPEMBytes(identity.certificateChain)
          .map { .certificate($0) }
        configuration.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: identity.privateKey, format: .pem))
      }
      configuration.applicationProtocols = ["http/1.1"]
      configuration.shutdownTimeout = tlsGoodbyeTime
      let context = try NIOSSLContext(configuration: configuration)
      cached.withLock { cached in
        if cached.count >= Self.cachedMax { cached.removeFirst() }
        cached.append((identity, context))
      }
      return context
    } catch {
      throw .certificate(endpoint: "\(endpoint)", reason: "\(error)")
    }
  }
}
