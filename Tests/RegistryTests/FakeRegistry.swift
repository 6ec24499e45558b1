import JSON
import Kernel
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import OCISpec
import Registry
import Synchronization

/// An HTTP server on loopback that answers as a closure says, and remembers what it was asked.
final class FakeRegistry: Sendable {
  struct Request: Sendable {
    var method: String
    /// With query.
    var path: String
    var headers: HTTPHeaders
    var authorization: String? { headers.first(name: "authorization") }
  }
  struct Response: Sendable {
    var status = 200
    var headers: [(String, String)] = []
    var body: [UInt8] = []
    /// The connection is cut after so many bytes of the body.
    var cutAfter: Int?
    static func status(_ code: Int, _ headers: [(String, String)] = []) -> Response {
      Response(status: code, headers: headers)
    }
  }
  typealias Answer = @Sendable (Request) -> Response

  private let channel: any Channel
  private let state: State
  let port: Int
  var authority: String { "127.0.0.1:\(port)" }

  final class State: Sendable {
    let requests = Mutex<[Request]>([])
    let answer: Mutex<Answer>
    init(_ answer: @escaping Answer) { self.answer = Mutex(answer) }
  }

  init(_ answer: @escaping Answer) async throws {
    let state = State(answer)
    self.state = state
    channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        channel.pipeline.configureHTTPServerPipeline().flatMap {
          channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Handler(state)) }
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    port = channel.localAddress?.port ?? 0
  }

  var requests: [Request] { state.requests.withLock { $0 } }
  func answer(_ answer: @escaping Answer) { state.answer.withLock { $0 = answer } }
  func close() async throws { try await channel.close() }

  private final class Handler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart
    private let state: State
    private var head: HTTPRequestHead?
    init(_ state: State) { self.state = state }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      switch unwrapInboundIn(data) {
      case .head(let head): self.head = head
      case .body: break
      case .end:
        guard let head else { return }
        let request = Request(method: head.method.rawValue, path: head.uri, headers: head.headers)
        state.requests.withLock { $0.append(request) }
        let response = state.answer.withLock { $0 }(request)
        var headers = HTTPHeaders(response.headers)
        if !headers.contains(name: "content-length") {
          headers.add(name: "content-length", value: "\(response.body.count)")
        }
        context.write(
          wrapOutboundOut(
            .head(HTTPResponseHead(version: .http1_1, status: .init(statusCode: response.status), headers: headers))),
          promise: nil)
        let body = response.cutAfter.map { Array(response.body.prefix($0)) } ?? response.body
        context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: body)))), promise: nil)
        if response.cutAfter != nil {
          let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
          context.flush()
          context.eventLoop.execute { bound.value.close(promise: nil) }
        } else {
          context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
      }
    }
  }
}

func digest(_ bytes: [UInt8]) -> Digest { Digest(sha256: SHA256Hasher.hash(bytes)) }

/// An image to serve: a manifest, a configuration and one layer.
struct ServedImage: Sendable {
  let config: [UInt8]
  let layer: [UInt8]
  let manifest: [UInt8]
  var layerDescriptor: Descriptor {
    Descriptor(mediaType: MediaType.ociLayer, digest: digest(layer), size: Int64(layer.count))
  }

  init(layerBytes: Int = 100_000) {
    layer = (0..<layerBytes).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) }
    config = JSONValue.object([
      "os": "linux", "architecture": .string(Platform.host.architecture),
      "rootfs": ["type": "layers", "diff_ids": [.string(digest(layer).description)]],
    ]).encoded()
    manifest = ImageManifest(
      config: Descriptor(mediaType: MediaType.ociConfig, digest: digest(config), size: Int64(config.count)),
      layers: [Descriptor(mediaType: MediaType.ociLayer, digest: digest(layer), size: Int64(layer.count))]
    ).json.encoded()
  }

  /// Serves all three below /v2/app, with Range.
  func answer(_ request: FakeRegistry.Request) -> FakeRegistry.Response {
    let path = request.path.prefix { $0 != "?" }
    let name = path.split(separator: "/").last.map(String.init) ?? ""
    if path.contains("/manifests/"), name == "latest" || name == digest(manifest).description {
      return .init(
        headers: [("content-type", MediaType.ociManifest), ("docker-content-digest", "\(digest(manifest))")],
        body: manifest)
    }
    for blob in [config, layer] where path.contains("/blobs/") && name == digest(blob).description {
      if let range = request.headers.first(name: "range"), let from = Int(range.dropFirst(6).dropLast()) {
        return .init(
          status: 206, headers: [("content-range", "bytes \(from)-\(blob.count - 1)/\(blob.count)")],
          body: Array(blob[from...]))
      }
      return .init(body: blob)
    }
    return .init(status: 404, body: Array(#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such thing"}]}"#.utf8))
  }
}

let quiet = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

/// Options that do not wait long.
func quickOptions(hosts: String? = nil, docker: String? = nil) -> RegistryOptions {
  var options = RegistryOptions(hostsDirectory: hosts, dockerConfigPath: docker)
  options.retry.firstDelayMilliseconds = 5
  options.retry.delayMillisecondsMax = 20
  options.retry.attemptsMax = 3
  options.retry.retryAfterSecondsMax = 0
  options.readTimeoutSeconds = 5
  return options
}

/// Runs `body` with a client, which is closed afterwards whatever happens.
@discardableResult
func withClient<R>(_ options: RegistryOptions = quickOptions(), _ body: (RegistryClient) async throws -> R) async throws
  -> R
{
  let client = RegistryClient(options: options, log: quiet)
  let result: Result<R, any Error>
  do { result = .success(try await body(client)) } catch { result = .failure(error) }
  try await client.shutdown()
  return try result.get()
}

/// Collects what a blob sends.
actor Collector {
  private(set) var bytes: [UInt8] = []
  func add(_ chunk: [UInt8]) { bytes += chunk }
}

extension RegistryClient {
  func blob(_ reference: ImageReference, _ blob: Descriptor, offset: Int64 = 0, credentials: RegistryCredentials? = nil)
    async throws -> [UInt8]
  {
    let collector = Collector()
    try await openBlob(reference, blob, offset: offset, credentials: credentials) { await collector.add($0) }
    return await collector.bytes
  }
}
