import ClusterDNS
import DNSMessage
import Kernel
import KubeClient
import KubeModel
import Logging
import NIOCore
import NIOPosix
import Synchronization
import TestSupport
import Testing

private let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
private typealias Packet = AddressedEnvelope<ByteBuffer>

private func name(_ text: String) -> DNSName { DNSName(text) ?? .root }

/// An API server that knows two lists and never changes; nil: it does not answer.
private func api(_ lists: [String: String]?) -> KubeClient {
  KubeClient(
    transport: KubeTransport { (request) throws(KubeError) in
      guard let lists else { throw KubeError(.connection(wasSent: false), message: "away") }
      if request.query.contains(where: { $0.name == "watch" }) {
        // A watch that stays silent.
        return KubeResponse(
          status: 200,
          body: KubeBody(next: { () throws(KubeError) in
            try? await Task.sleep(for: .seconds(3600))
            return nil
          }))
      }
      let kind = request.path.split(separator: "/").last.map(String.init) ?? ""
      let text =
        "{\"kind\":\"List\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[\(lists[kind] ?? "")]}"
      return KubeResponse(status: 200, body: .bytes(Array(text.utf8)))
    })
}

private let objects: [String: String] = [
  "services": """
  {"kind":"Service","apiVersion":"v1","metadata":{"name":"web","namespace":"default","uid":"1","resourceVersion":"1"},
   "spec":{"clusterIP":"10.96.0.5","clusterIPs":["10.96.0.5"],"ports":[{"name":"http","port":80,"targetPort":80}]}},
  {"kind":"Service","apiVersion":"v1","metadata":{"name":"db","namespace":"default","uid":"2","resourceVersion":"2"},
   "spec":{"clusterIP":"None","clusterIPs":["None"],"ports":[{"name":"db","port":6379,"targetPort":6379}]}},
  {"kind":"Service","apiVersion":"v1","metadata":{"name":"out","namespace":"default","uid":"3","resourceVersion":"3"},
   "spec":{"type":"ExternalName","externalName":"far.example"}},
  {"kind":"Service","apiVersion":"v1","metadata":{"name":"in","namespace":"default","uid":"4","resourceVersion":"4"},
   "spec":{"type":"ExternalName","externalName":"web.default.svc.cluster.local"}},
  {"kind":"Service","apiVersion":"v1","metadata":{"name":"round","namespace":"default","uid":"5","resourceVersion":"5"},
   "spec":{"type":"ExternalName","externalName":"round.default.svc.cluster.local"}}
  """,
  "endpointslices": """
  {"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","addressType":"IPv4","metadata":{"name":"db-1",
   "namespace":"default","uid":"9","resourceVersion":"4","labels":{"kubernetes.io/service-name":"db"}},
   "ports":[{"name":"db","port":6379,"protocol":"TCP"}],"endpoints":[\((1...80).map {
       "{\"addresses\":[\"10.87.0.\($0)\"],\"hostname\":\"db-\($0)\",\"conditions\":{\"ready\":\($0 > 1)}}"
     }.joined(separator: ","))]}
  """,
]

/// Somebody else's name server on loopback, which answers every address question with one address and counts.
private final class Upstream: Sendable {
  private let channel: NIOAsyncChannel<Packet, Packet>
  let asked = Mutex<[String]>([])
  let code: DNSCode

  init(code: DNSCode = .noError) async throws {
    self.code = code
    channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton).bind(host: "127.0.0.1", port: 0)
    {
      channel in
      channel.eventLoop.makeCompletedFuture { try NIOAsyncChannel(wrappingChannelSynchronously: channel) }
    }
  }

  var place: DNSUpstream { DNSUpstream(host: "127.0.0.1", port: channel.channel.localAddress?.port ?? 0) }

  func run() async throws {
    try await channel.executeThenClose { inbound, outbound in
      for try await packet in inbound {
        let query = try DNSMessage(parsing: Array(packet.data.readableBytesView))
        var answer = DNSMessage(answering: query, code: code)
        guard let question = query.questions.first else { continue }
        asked.withLock { $0.append(question.name.text) }
        if question.type == .a, code == .noError {
          answer.answers = [DNSRecord(question.name, .a, ttl: 60, .address([192, 0, 2, 7]))]
        }
        // A forger's answer comes first: of another number, it is nobody's.
        var forged = answer
        forged.id = ~answer.id
        forged.answers = [DNSRecord(question.name, .a, ttl: 60, .address([6, 6, 6, 6]))]
        for bytes in [forged.encoded(), answer.encoded()] {
          try await outbound.write(Packet(remoteAddress: packet.remoteAddress, data: ByteBuffer(bytes: bytes)))
        }
      }
    }
  }
}

private func ask(_ port: Int, _ query: DNSMessage) async throws -> DNSMessage { try await ask(port, query.encoded()) }

private func ask(_ port: Int, _ bytes: [UInt8]) async throws -> DNSMessage {
  let address = try SocketAddress(ipAddress: "127.0.0.1", port: port)
  let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton).connect(to: address) {
    channel in
    channel.eventLoop.makeCompletedFuture { try NIOAsyncChannel<Packet, Packet>(wrappingChannelSynchronously: channel) }
  }
  return try await channel.executeThenClose { inbound, outbound in
    try await outbound.write(Packet(remoteAddress: address, data: ByteBuffer(bytes: bytes)))
    for try await packet in inbound { return try DNSMessage(parsing: Array(packet.data.readableBytesView)) }
    throw CancellationError()
  }
}

private func askStream(_ port: Int, _ query: DNSMessage) async throws -> DNSMessage {
  let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).connect(
    host: "127.0.0.1", port: port
  ) {
    channel in
    channel.eventLoop.makeCompletedFuture {
      try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
    }
  }
  return try await channel.executeThenClose { inbound, outbound in
    let bytes = query.encoded()
    // In two pieces, as a slow link would bring them.
    try await outbound.write(ByteBuffer(bytes: [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xff), bytes[0]]))
    try await outbound.write(ByteBuffer(bytes: bytes[1...]))
    var all: [UInt8] = []
    for try await part in inbound {
      all += part.readableBytesView
      if all.count >= 2, all.count >= 2 + (Int(all[0]) << 8 | Int(all[1])) {
        return try DNSMessage(parsing: Array(all[2...]))
      }
    }
    throw CancellationError()
  }
}

private func query(_ text: String, _ type: DNSType = .a, udpBytes: UInt16? = nil) -> DNSMessage {
  var message = DNSMessage(asking: DNSQuestion(name(text), type), id: .random(in: .min ... .max))
  message.extension_ = udpBytes.map { DNSExtension(udpBytes: $0) }
  return message
}

/// Runs a name server for as long as `body` runs.
private func withServer(
  _ client: KubeClient = api(objects), upstreams: [Upstream] = [], others: [DNSUpstream] = [],
  stubs: [DNSName: Upstream] = [:], port: Int = 0, _ body: @escaping @Sendable (Int) async throws -> Void
) async throws {
  var settings = ClusterDNS.Settings(domain: name("cluster.local"))
  settings.hosts = { ["127.0.0.1"] }
  settings.port = port
  settings.ranges = [ZoneRange(address: [10, 96, 0, 0], prefixBits: 16)]
  settings.addresses = [[10, 96, 0, 10]]
  settings.upstreams = upstreams.map(\.place) + others
  settings.stubs = stubs.mapValues { [$0.place] }
  let services = Informer<Service>(client: client, logger: silent)
  let slices = Informer<EndpointSlice>(client: client, logger: silent)
  let server = ClusterDNS(settings: settings, services: services, slices: slices, logger: silent)
  let (ports, said) = AsyncStream.makeStream(of: Int.self)
  try await withThrowingTaskGroup(of: Void.self) { group in
    group.addTask { try await services.run() }
    group.addTask { try await slices.run() }
    for upstream in upstreams + Array(stubs.values) { group.addTask { try await upstream.run() } }
    group.addTask { try await server.run { _, port in said.yield(port) } }
    for await port in ports {
      await services.waitForSync(timeout: .seconds(1))
      await slices.waitForSync(timeout: .seconds(1))
      try await body(port)
      break
    }
    group.cancelAll()
    while let result = await group.nextResult() {
      if case .failure(let error) = result, !(error is CancellationError) { throw error }
    }
  }
}

private func addresses(_ message: DNSMessage) -> [[UInt8]] {
  message.answers.compactMap { if case .address(let bytes) = $0.data { bytes } else { nil } }
}

@Suite(.timeLimit(.minutes(1))) struct DNSServerTests {
  @Test func servicesAreAnsweredByBothTransports() async throws {
    try await withServer { port in
      let udp = try await ask(port, query("web.default.svc.cluster.local"))
      #expect(addresses(udp) == [[10, 96, 0, 5]])
      #expect(udp.isAuthoritative && udp.offersRecursion && udp.code == .noError && udp.extension_ == nil)
      let tcp = try await askStream(port, query("_http._tcp.web.default.svc.cluster.local", .srv, udpBytes: 512))
      #expect(tcp.answers.count == 1 && tcp.additional.count == 1 && tcp.extension_ != nil)
      let none = try await ask(port, query("nothing.default.svc.cluster.local"))
      #expect(none.code == .nameError && none.authority.count == 1)
      let empty = try await ask(port, query("web.default.svc.cluster.local", .aaaa))
      #expect(empty.code == .noError && empty.answers.isEmpty && empty.authority.count == 1)
    }
  }

  @Test func whatIsTooLongForADatagramIsToldWholeByTheOther() async throws {
    try await withServer { port in
      let short = try await ask(port, query("db.default.svc.cluster.local"))
      #expect(short.isTruncated && short.answers.count < 79)
      let more = try await ask(port, query("db.default.svc.cluster.local", udpBytes: 4096))
      #expect(more.isTruncated && more.answers.count > short.answers.count)
      let whole = try await askStream(port, query("db.default.svc.cluster.local"))
      // The one that is not ready is left out.
      #expect(!whole.isTruncated && whole.answers.count == 79)
    }
  }

  @Test func othersAreAskedOnceAndForgersAreNotHeard() async throws {
    let upstream = try await Upstream()
    try await withServer(upstreams: [upstream]) { port in
      for _ in 0..<3 {
        let answer = try await ask(port, query("far.example"))
        #expect(addresses(answer) == [[192, 0, 2, 7]])
        #expect(!answer.isAuthoritative)
      }
      #expect(upstream.asked.withLock { $0 } == ["far.example."])
      let alias = try await ask(port, query("out.default.svc.cluster.local"))
      #expect(alias.answers.map(\.type) == [.cname, .a])
      #expect(upstream.asked.withLock { $0.count } == 1)
    }
  }

  @Test func anAliasInsideIsFollowedAndOneToItselfEnds() async throws {
    try await withServer { port in
      let inside = try await ask(port, query("in.default.svc.cluster.local"))
      #expect(addresses(inside) == [[10, 96, 0, 5]])
      let round = try await ask(port, query("round.default.svc.cluster.local"))
      #expect(round.code == .serverFailure && round.answers.count <= 9)
    }
  }

  @Test func aDomainMayHaveServersOfItsOwnAndTheNextOneHelps() async throws {
    let (bad, good, stub) = (try await Upstream(code: .refused), try await Upstream(), try await Upstream())
    try await withServer(upstreams: [bad, good], stubs: [name("corp.example"): stub]) { port in
      let answer1 = try await ask(port, query("www.corp.example"))
      #expect(addresses(answer1) == [[192, 0, 2, 7]])
      #expect(stub.asked.withLock { $0 } == ["www.corp.example."])
      let answer2 = try await ask(port, query("a.example"))
      #expect(addresses(answer2) == [[192, 0, 2, 7]])
      let answer3 = try await ask(port, query("b.example"))
      #expect(addresses(answer3) == [[192, 0, 2, 7]])
      // The one that answered is asked first from then on.
      #expect(bad.asked.withLock { $0 } == ["a.example."])
    }
  }

  @Test func aServerThatAsksUsInTurnIsACircleThatEnds() async throws {
    // A relay before us, as a node's own resolver may be.
    let probe = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton).bind(
      host: "127.0.0.1", port: 0
    ).get()
    let port = probe.localAddress?.port ?? 0
    try await probe.close()
    try await withServer(others: [DNSUpstream(host: "127.0.0.2", port: port)], port: port) { port in
      // 127.0.0.2 is not where we listen: nobody answers, and it is said.
      let answer = try await ask(port, query("far.example"))
      #expect(answer.code == .serverFailure)
    }
    try await withServer(others: [DNSUpstream(host: "127.0.0.1", port: port)], port: port) { port in
      let began = ContinuousClock.now
      let answer5 = try await ask(port, query("far.example"))
      #expect(answer5.code == .serverFailure)
      #expect(ContinuousClock.now - began < .seconds(1))
    }
  }

  @Test func beforeAnythingIsKnownNothingIsDenied() async throws {
    let upstream = try await Upstream()
    try await withServer(api(nil), upstreams: [upstream]) { port in
      let answer6 = try await ask(port, query("web.default.svc.cluster.local"))
      #expect(answer6.code == .serverFailure)
      let answer4 = try await ask(port, query("far.example"))
      #expect(addresses(answer4) == [[192, 0, 2, 7]])
    }
  }

  @Test func whatIsNoQuestionIsAnsweredAsThat() async throws {
    try await withServer { port in
      let answer7 = try await ask(port, [1, 2, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0])
      #expect(answer7.code == .formatError)
      let answer8 = try await ask(port, query("web.default.svc.cluster.local", .axfr))
      #expect(answer8.code == .refused)
      var strange = query("web.default.svc.cluster.local", udpBytes: 1232)
      strange.extension_?.version = 1
      let answer9 = try await ask(port, strange)
      #expect(answer9.code == .badVersion)
      var update = query("web.default.svc.cluster.local")
      update.operation = 5
      let answer10 = try await ask(port, update)
      #expect(answer10.code == .notImplemented)
    }
  }
}
