import JSON
import KubeClient
import Kernel
import NIOCore
import NIOHPACK
import NIOHTTP2
import NIOPosix
import NIOSSL

/// Where the API is, and the process whose use is measured; nil: it is not on this machine, or not ours to look at.
struct APITarget: Sendable {
  var kubeconfig: Kubeconfig
  var processID: Int32?

  func cpuMicroseconds() throws -> Double { try processID.map { try ProcessUse.cpuMicroseconds($0) } ?? 0 }
}

/// A connection of its own to the API: HTTP/2 frames, and nothing above them. The client runs beside the server that it
/// measures, on the same processors: whatever it takes for itself would look like the server's slowness.
struct APIConnection: Sendable {
  static let answerBytesMax = 64 << 20
  static let timeoutSeconds = 30
  private static let connectSeconds: Int64 = 10

  private let channel: any Channel
  private let streams: NIOLoopBound<APIStreams>
  private let base: [(name: String, value: String)]

  static func open(_ target: APITarget) async throws -> APIConnection {
    let configuration = target.kubeconfig
    let address = try ServerAddress(configuration.server)
    let context = try NIOSSLContext(configuration: try tls(configuration))
    var base = [(name: ":scheme", value: "https"), (name: ":authority", value: "\(address.shown):\(address.port)")]
    if let token = configuration.token {
      let text = String(decoding: try bytes(token), as: UTF8.self)
      base.append(("authorization", "Bearer \(text.split(whereSeparator: \.isWhitespace).first ?? "")"))
    }
    // A name in the handshake is for hosts; addresses are compared with the certificate's as they are.
    let isAddress = (try? SocketAddress(ipAddress: address.host, port: 0)) != nil
    let name = configuration.tlsServerName ?? (isAddress ? nil : address.host)
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    let made = loop.makePromise(of: NIOLoopBound<APIStreams>.self)
    do {
      let channel = try await ClientBootstrap(group: loop)
        .connectTimeout(.seconds(connectSeconds))
        .channelOption(ChannelOptions.tcpOption(.tcp_nodelay), value: 1)
        .channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            let streams = APIStreams()
            made.succeed(NIOLoopBound(streams, eventLoop: channel.eventLoop))
            let pipeline = channel.pipeline.syncOperations
            try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: name))
            try pipeline.addHandler(
              NIOHTTP2Handler(
                mode: .client,
                initialSettings: [
                  HTTP2Setting(parameter: .enablePush, value: 0),
                  HTTP2Setting(parameter: .maxHeaderListSize, value: 64 << 10),
                  HTTP2Setting(parameter: .initialWindowSize, value: APIStreams.windowBytes),
                ], headerBlockValidation: .disabled, contentLengthValidation: .disabled))
            try pipeline.addHandler(streams)
          }
        }
        .connect(host: address.host, port: address.port).get()
      return APIConnection(channel: channel, streams: try await made.futureResult.get(), base: base)
    } catch {
      made.fail(error)
      throw BenchError("connect to \(configuration.server): \(error)")
    }
  }

  func close() { channel.close(promise: nil) }

  // MARK: one request

  /// Reads the answer to its end without keeping it.
  /// - Returns: its bytes and its type.
  @discardableResult
  func send(_ request: KubeRequest) async throws -> (bytes: Int, type: String) {
    let answer = try await exchange(request, keeping: APIStreams.toldBytesMax)
    return (answer.bytes, answer.type)
  }

  func document(_ request: KubeRequest) async throws -> JSONValue {
    try JSONValue.parse(try await exchange(request, keeping: Self.answerBytesMax).kept)
  }

  private func exchange(_ request: KubeRequest, keeping bytesMax: Int) async throws -> APIAnswer {
    let (loop, streams, channel) = (channel.eventLoop, streams, channel)
    let promise = loop.makePromise(of: APIAnswer.self)
    let block = APIStreams.Block(request, base)
    loop.execute {
      let timer = Self.timer(channel, seconds: Self.timeoutSeconds)
      streams.value.begin(block, keeping: bytesMax) { result in
        timer.cancel()
        promise.completeWith(result)
      }
    }
    return try await promise.futureResult.get()
  }

  /// What takes longer than anything should ends with its connection.
  private static func timer(_ channel: any Channel, seconds: Int) -> Scheduled<Void> {
    channel.eventLoop.scheduleTask(in: .seconds(Int64(seconds))) { channel.close(promise: nil) }
  }

  // MARK: many requests

  enum Extent: Sendable {
    case until(Duration)
    case times(Int)
  }

  /// Does requests one after another, `width` at a time, all on the connection's own thread.
  /// - Parameter request: gets a number from 1.
  /// - Returns: milliseconds of each.
  func run(
    width: Int, _ extent: Extent, _ request: @escaping @Sendable (Int) -> KubeRequest
  ) async throws -> [Double] {
    let (loop, streams, channel, base) = (channel.eventLoop, streams, channel, base)
    let promise = loop.makePromise(of: [Double].self)
    let (last, seconds) =
      switch extent {
      case .until(let time): (Int.max, time.inMilliseconds / 1000)
      case .times(let count): (count, Double(count))
      }
    loop.execute {
      let timer = Self.timer(channel, seconds: Self.timeoutSeconds + Int(seconds))
      let turns = APITurns(
        streams: streams.value, last: last, end: SystemClock.bootNanoseconds + Int64(seconds * 1e9)
      ) {
        APIStreams.Block(request($0), base)
      } done: {
        timer.cancel()
        promise.completeWith($0)
      }
      for _ in 0..<width { turns.next() }
    }
    return try await promise.futureResult.get()
  }

  // MARK: watches

  /// One watch: calls `event` on the connection's thread with the time of each line of its answer.
  struct Watch: Sendable {
    fileprivate let ended: EventLoopFuture<[Int64]>

    /// Nanoseconds since boot at which each event was there.
    func times() async throws -> [Int64] { try await ended.get() }
  }

  /// A watch, once its answer has begun; it is over after so many events.
  func watch(_ request: KubeRequest, events: Int) async throws -> Watch {
    let (loop, streams) = (channel.eventLoop, streams)
    let begun = loop.makePromise(of: Void.self)
    let ended = loop.makePromise(of: [Int64].self)
    let block = APIStreams.Block(request, base)
    loop.execute {
      var times: [Int64] = []
      times.reserveCapacity(min(events, 10_000))
      streams.value.begin(block, keeping: APIStreams.toldBytesMax) {
        begun.succeed()
      } data: { bytes in
        let now = SystemClock.bootNanoseconds
        // Lines are long: from one end to the next, not byte by byte.
        var view = bytes.readableBytesView[...]
        while let line = view.firstIndex(of: UInt8(ascii: "\n")) {
          times.append(now)
          view = view[(line + 1)...]
        }
        if times.count >= events { ended.succeed(times) }
      } done: { result in
        // Of no effect where it has begun, or has seen all its events.
        let early = BenchError("a watch ended after \(times.count) of \(events) events")
        let cause: any Error = if case .failure(let error) = result { error } else { early }
        begun.fail(cause)
        ended.fail(cause)
      }
    }
    try await begun.futureResult.get()
    return Watch(ended: ended.futureResult)
  }

  // MARK: credentials

  private static func bytes(_ material: Kubeconfig.Material) throws -> [UInt8] {
    switch material {
    case .bytes(let bytes): bytes
    case .file(let path): try Files.read(path)
    }
  }

  private static func tls(_ configuration: Kubeconfig) throws -> TLSConfiguration {
    var tls = TLSConfiguration.makeClientConfiguration()
    tls.applicationProtocols = ["h2"]
    if let authority = configuration.certificateAuthority {
      tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(try bytes(authority)))
    }
    if configuration.isInsecure { tls.certificateVerification = .none }
    if let certificate = configuration.clientCertificate, let key = configuration.clientKey {
      tls.certificateChain = try NIOSSLCertificate.fromPEMBytes(try bytes(certificate)).map { .certificate($0) }
      tls.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: try bytes(key), format: .pem))
    }
    return tls
  }
}

/// `https://host:port` of a kubeconfig.
private struct ServerAddress {
  /// Without brackets.
  var host: String
  var port = 443
  var shown: String { host.contains(":") ? "[\(host)]" : host }

  init(_ server: String) throws {
    let prefix = "https://"
    guard server.hasPrefix(prefix) else { throw BenchError("\(server): only https:// is measured") }
    var rest = server.dropFirst(prefix.count)
    while rest.last == "/" { rest.removeLast() }
    guard !rest.isEmpty, !rest.contains("/") else { throw BenchError("\(server): only a host and a port are taken") }
    if rest.first == "[", let end = rest.firstIndex(of: "]") {
      host = String(rest[rest.index(after: rest.startIndex)..<end])
      rest = rest[rest.index(after: end)...]
    } else {
      let end = rest.firstIndex(of: ":") ?? rest.endIndex
      host = String(rest[..<end])
      rest = rest[end...]
    }
    guard !rest.isEmpty else { return }
    guard rest.first == ":", let number = Int(rest.dropFirst()) else { throw BenchError("\(server): no port") }
    port = number
  }
}

/// Requests in turn: when one is answered, the next is sent.
private final class APITurns {
  private let streams: APIStreams
  private let last: Int
  private let end: Int64
  private let request: (Int) -> APIStreams.Block
  private let done: (Result<[Double], any Error>) -> Void
  private var number = 0
  private var active = 0
  private var times: [Double] = []
  private var isOver = false

  init(
    streams: APIStreams, last: Int, end: Int64, request: @escaping (Int) -> APIStreams.Block,
    done: @escaping (Result<[Double], any Error>) -> Void
  ) {
    (self.streams, self.last, self.end, self.request, self.done) = (streams, last, end, request, done)
  }

  func next() {
    let now = SystemClock.bootNanoseconds
    guard !isOver, number < last, last < .max || now < end else {
      if !isOver, active == 0 { finish(.success(times)) }
      return
    }
    number += 1
    active += 1
    let block = request(number)
    let sent = SystemClock.bootNanoseconds
    streams.begin(block, keeping: APIStreams.toldBytesMax) { [self] result in
      active -= 1
      switch result {
      case .success:
        times.append(Double(SystemClock.bootNanoseconds - sent) / 1e6)
        next()
      case .failure(let error): finish(.failure(error))
      }
    }
  }

  private func finish(_ result: Result<[Double], any Error>) {
    guard !isOver else { return }
    isOver = true
    done(result)
  }
}
