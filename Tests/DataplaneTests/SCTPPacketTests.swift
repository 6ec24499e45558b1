import Glibc
import Kernel
import TestSupport
import Testing

@testable import Dataplane

/// SCTP as it stands on the wire (RFC 9260 §3), for kernels without sockets of it: packets of one INIT or INIT ACK chunk.
private final class RawSCTP: Sendable {
  struct Packet: Sendable {
    var source: IPAddress
    var sourcePort: UInt16
    var destination: IPAddress
    var destinationPort: UInt16
    /// What the receiver of an answer knows its own packets by.
    var tag: UInt32
    var chunk: UInt8
    var initiateTag: UInt32
  }
  static let initiate: UInt8 = 1
  static let acknowledge: UInt8 = 2
  private static let transport: CInt = 132
  private static let waitSeconds = 3

  private let descriptor: CInt

  init(in lab: LabNamespace) async throws {
    descriptor = try await lab.namespace.run { () throws(SyscallError) in
      let fd = try syscall("socket", on: "raw SCTP") {
        socket(AF_INET, CInt(SOCK_RAW.rawValue) | CInt(SOCK_CLOEXEC.rawValue), Self.transport)
      }
      var limit = timeval(tv_sec: Self.waitSeconds, tv_usec: 0)
      _ = try syscall("setsockopt", on: "raw SCTP") {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
      }
      return fd
    }
  }

  deinit { close(descriptor) }

  func send(_ chunk: UInt8, to: IPAddress, _ port: UInt16, from own: UInt16, tag: UInt32, initiateTag: UInt32) throws {
    var bytes = Self.big(UInt32(own) << 16 | UInt32(port)) + Self.big(tag) + [0, 0, 0, 0]
    bytes += [chunk, 0, 0, 20] + Self.big(initiateTag) + Self.big(65_536) + [0, 1, 0, 1] + Self.big(7)
    let sum = Self.checksum(bytes)
    for index in 0..<4 { bytes[8 + index] = UInt8(truncatingIfNeeded: sum >> (8 * UInt32(index))) }
    var target = sockaddr_in()
    target.sin_family = sa_family_t(AF_INET)
    withUnsafeMutableBytes(of: &target.sin_addr) { $0.copyBytes(from: to.bytes) }
    let fd = descriptor
    _ = try syscall("sendto", on: "\(to)") {
      withUnsafePointer(to: &target) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          sendto(fd, bytes, bytes.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
    }
  }

  func receive() async throws -> Packet {
    try await onFreshThread { [self] () throws(SyscallError) in
      var buffer = [UInt8](repeating: 0, count: 2048)
      let fd = descriptor
      let count = try syscall("recv", on: "raw SCTP") { recv(fd, &buffer, 2048, 0) }
      let header = Int(buffer[0] & 0xf) * 4
      guard count >= header + 20, let source = IPAddress(bytes: buffer[12..<16]),
        let destination = IPAddress(bytes: buffer[16..<20])
      else { throw SyscallError(call: "recv", subject: "\(count) bytes of SCTP", errno: EBADMSG) }
      let packet = buffer[header..<count]
      func number(_ offset: Int, _ length: Int) -> UInt32 {
        packet.dropFirst(offset).prefix(length).reduce(0) { $0 << 8 | UInt32($1) }
      }
      var sum = Array(packet)
      for index in 8..<12 { sum[index] = 0 }
      let told = packet.dropFirst(8).prefix(4).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      guard Self.checksum(sum) == told else {
        throw SyscallError(call: "recv", subject: "SCTP with a wrong checksum", errno: EBADMSG)
      }
      return Packet(
        source: source, sourcePort: UInt16(number(0, 2)), destination: destination,
        destinationPort: UInt16(number(2, 2)), tag: number(4, 4), chunk: UInt8(number(12, 1)),
        initiateTag: number(16, 4))
    }
  }

  private static func big(_ value: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) }
  }

  /// CRC-32C, RFC 9260 appendix A; its bytes go out lowest first.
  private static func checksum(_ bytes: [UInt8]) -> UInt32 {
    var sum = UInt32.max
    for byte in bytes {
      sum ^= UInt32(byte)
      for _ in 0..<8 { sum = sum & 1 == 1 ? sum >> 1 ^ 0x82f6_3b78 : sum >> 1 }
    }
    return ~sum
  }
}

@Suite(.serialized) struct SCTPPacketTests {
  /// From a pod by a cluster address, and from the node by a node port: each endpoint in turn, and answers come back
  /// from where they were asked for.
  @Test func associationsReachEachEndpointInTurnAndAnswersComeBack() async throws {
    try await withPacketBench { bench in
      try await bench.node.command("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
      try await bench.dataplane.apply(
        try ServiceTable([
          bench.entry("10.96.0.10", .sctp), bench.entry("0.0.0.0", .sctp) { ($0.kind, $0.port) = (.nodePort, 30_080) },
        ]))
      var servers: [RawSCTP] = []
      for pod in bench.web { servers.append(try await RawSCTP(in: pod.lab)) }
      for (lab, virtual, port) in [
        (bench.client.lab, address("10.96.0.10"), UInt16(80)), (bench.node, address("192.0.2.1"), 30_080),
      ] {
        let client = try await RawSCTP(in: lab)
        for turn in 0..<3 {
          let own = 40_000 + UInt16(turn)
          try client.send(
            RawSCTP.initiate, to: virtual, port, from: own, tag: 0, initiateTag: 0x1000 + UInt32(turn))
        }
        for (pod, server) in zip(bench.web, servers) {
          let asked = try await server.receive()
          #expect(asked.chunk == RawSCTP.initiate && asked.destinationPort == 8080)
          #expect(asked.destination == pod.endpoint(.ipv4).address)
          if lab.path == bench.client.lab.path { #expect(asked.source == bench.client.endpoint(.ipv4).address) }
          try server.send(
            RawSCTP.acknowledge, to: asked.source, asked.sourcePort, from: 8080, tag: asked.initiateTag,
            initiateTag: 0x2000)
          let answer = try await client.receive()
          #expect(answer.chunk == RawSCTP.acknowledge && answer.source == virtual && answer.sourcePort == port)
          #expect(UInt32(answer.destinationPort) - 40_000 == answer.tag - 0x1000, "the answer to that very packet")
        }
      }
    }
  }
}
