import Kernel
import Logging
import NIOCore
import NIOPosix
import Streaming
import Synchronization
import Testing

/// Clients that break off at every point of a session, many thousand of them (CVE-2022-23471, CVE-2025-64329).
@Suite(.serialized) struct BrokenSessionTests {
  private static let sessions = 10_000
  private static let atOnce = 32
  private static let limit: Duration = .seconds(120)

  /// Processes that were begun and not yet ended.
  private final class Ledger: Sendable {
    let running = Atomic<Int>(0)
    let begun = Atomic<Int>(0)
  }

  /// A process that is only pipes, and ends when it is abandoned or its input ends.
  private static func process(_ ledger: Ledger) throws -> StreamedProcess {
    var input = try Pipe()
    var output = try Pipe()
    let theirInput = input.takeReadEnd()
    let theirOutput = output.takeWriteEnd()
    let (ends, ended) = AsyncStream.makeStream(of: Void.self)
    ledger.running.add(1, ordering: .relaxed)
    ledger.begun.add(1, ordering: .relaxed)
    let held = Mutex<[OwnedFDBox]>([OwnedFDBox(theirInput), OwnedFDBox(theirOutput)])
    let box = HeldDescriptors(held)
    return StreamedProcess(
      input: input.takeWriteEnd(), output: output.takeReadEnd(), errors: nil,
      abandon: { ended.finish() },
      wait: {
        for await _ in ends {}
        box.drop()
        ledger.running.subtract(1, ordering: .relaxed)
        return 137
      })
  }

  private final class OwnedFDBox: Sendable {
    let fd: OwnedFD
    init(_ fd: consuming OwnedFD) { self.fd = fd }
  }

  private final class HeldDescriptors: Sendable {
    private let held: Mutex<[OwnedFDBox]>
    init(_ held: consuming Mutex<[OwnedFDBox]>) { self.held = held }
    func drop() { held.withLock { $0 = [] } }
  }

  /// What a client says before it is gone; nil for nothing at all.
  private static func words(_ number: Int, _ host: String, _ path: String) -> [UInt8] {
    let resize: [UInt8] = [0x82, 0x83, 0, 0, 0, 0, 4, UInt8(ascii: "{"), UInt8(ascii: "}")]
    let spdy =
      "POST \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
      + "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
    return switch number % 8 {
    case 0: []
    case 1: Array("GET \(path) HTT".utf8)
    case 2: Array(upgradeRequest(host, path).utf8)
    case 3: Array(upgradeRequest(host, path).utf8) + Array(repeating: resize, count: 100).flatMap { $0 }
    case 4: Array(upgradeRequest(host, path).utf8) + [0x82, 0xfe, 0xff, 0xff, 1, 2, 3]
    case 5: Array(spdy.utf8) + [0x80, 3, 0, 1, 0, 0, 0, 200, 1, 2, 3]
    case 6: Array(spdy.utf8) + (0..<64).map { UInt8(truncatingIfNeeded: $0 &* 37) }
    default: Array(upgradeRequest(host, path, proto: "base64.channel.k8s.io").utf8) + [0x81, 0x82, 0, 0, 0, 0, 48, 33]
    }
  }

  private static func breakOff(_ number: Int, _ server: StreamingServer) async throws {
    let takesURL = number % 8 >= 2
    let script = StreamRequest(
      kind: .exec(command: ["x"]), containerID: "1", terminal: number % 3 == 0, input: true, output: true, errors: false
    )
    let url = takesURL ? try server.url(for: script) : "\(server.baseURL)/exec/none"
    let rest = url.dropFirst("http://".count)
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    let (host, path) = (String(rest[..<slash]), String(rest[slash...]))
    let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
      .connect(host: "127.0.0.1", port: Int(host.split(separator: ":").last ?? "") ?? 0).get()
    let bytes = words(number, host, path)
    if !bytes.isEmpty { try? await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get() }
    // Half of them with what the server says unread, which makes a reset of it.
    if number % 2 == 0 { try? await channel.setOption(.autoRead, value: false).get() }
    try? await channel.close().get()
  }

  private static func residentBytes() throws -> Int {
    let pages = try Files.readText("/proc/self/statm")?.split(separator: " ").dropFirst().first.flatMap { Int($0) }
    return (pages ?? 0) * 4096
  }

  @Test func tenThousandBrokenSessionsLeaveNothingBehind() async throws {
    let ledger = Ledger()
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    var configuration = StreamingServer.Configuration()
    configuration.drainQuiet = .milliseconds(50)
    configuration.farewellTimeout = .milliseconds(200)
    configuration.handshakeTimeout = .seconds(2)
    let handlers = StreamingHandlers(
      exec: { _, _ in try Self.process(ledger) }, attach: { _ in throw HandlerFailure(description: "not here") },
      dial: { _, port in try LoopbackSocket.connect(port: port) })
    let server = try await StreamingServer.bind(configuration, handlers: handlers, logger: logger)
    let serving = Task { try await server.run() }
    defer { serving.cancel() }
    let start = ContinuousClock.now
    // The first thousand let every pool and buffer grow to its size.
    try await Self.breakMany(0..<1000, server)
    try await Self.settle(ledger, start)
    let descriptors = try CurrentProcess.openDescriptors()
    let bytes = try Self.residentBytes()
    try await Self.breakMany(1000..<Self.sessions, server)
    try await Self.settle(ledger, start)
    #expect(ledger.begun.load(ordering: .relaxed) > 0)
    #expect(try CurrentProcess.openDescriptors() <= descriptors + 4)
    #expect(try Self.residentBytes() < bytes + (64 << 20))
    #expect(ContinuousClock.now - start < Self.limit)
  }

  private static func breakMany(_ numbers: Range<Int>, _ server: StreamingServer) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      var next = numbers.lowerBound
      while next < numbers.upperBound {
        if next - numbers.lowerBound >= atOnce { try await group.next() }
        let number = next
        group.addTask { try await breakOff(number, server) }
        next += 1
      }
      try await group.waitForAll()
    }
  }

  /// Until every process that was begun has ended and descriptors no longer become fewer.
  private static func settle(_ ledger: Ledger, _ start: ContinuousClock.Instant) async throws {
    var last = Int.max
    while ContinuousClock.now - start < limit {
      let now = try CurrentProcess.openDescriptors()
      if ledger.running.load(ordering: .relaxed) == 0, now >= last { return }
      last = now
      try await Task.sleep(for: .milliseconds(300))
    }
    Issue.record("\(ledger.running.load(ordering: .relaxed)) processes still run")
  }
}
