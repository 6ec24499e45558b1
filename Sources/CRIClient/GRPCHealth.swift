internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix

/// The health check that gRPC services answer: grpc.health.v1.Health/Check.
package enum GRPCHealth {
  package enum Answer: UInt8, Sendable {
    case unknown = 0
    case serving = 1
    case notServing = 2
    case serviceUnknown = 3

    package var name: String {
      switch self {
      case .unknown: "UNKNOWN"
      case .serving: "SERVING"
      case .notServing: "NOT_SERVING"
      case .serviceUnknown: "SERVICE_UNKNOWN"
      }
    }
  }

  /// Bytes of an answer: it is one small number.
  private static let answerBytesMax = 4096

  /// Asks once, over a connection of its own, without TLS, as Kubernetes' probes do.
  ///
  /// - Parameter service: empty: the server as a whole.
  /// - Throws: `CRIError`, where nobody answers in time or the server has no such service.
  package static func check(
    host: String, port: Int, service: String, timeout: Duration
  ) async throws(CRIError) -> Answer {
    let place = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    do {
      let transport = try HTTP2ClientTransport.Posix(
        target: host.contains(":") ? .ipv6(address: host, port: port) : .ipv4(address: host, port: port),
        transportSecurity: .plaintext)
      var options = CallOptions.defaults
      options.timeout = timeout
      options.maxResponseMessageBytes = answerBytesMax
      // HealthCheckRequest { string service = 1; }
      let name = Array(service.utf8.prefix(127))
      let request: [UInt8] = name.isEmpty ? [] : [0x0a, UInt8(name.count)] + name
      let bytes = try await withGRPCClient(transport: transport) { client in
        try await client.unary(
          request: ClientRequest(message: request),
          descriptor: MethodDescriptor(fullyQualifiedService: "grpc.health.v1.Health", method: "Check"),
          serializer: PlainBytes(), deserializer: PlainBytes(), options: options
        ) { response in try response.message }
      }
      return answer(bytes)
    } catch {
      throw CRIError(error, call: "Health/Check", socketPath: place)
    }
  }

  /// HealthCheckResponse { ServingStatus status = 1; }
  static func answer(_ bytes: [UInt8]) -> Answer {
    guard bytes.count >= 2, bytes[0] == 0x08 else { return .unknown }
    return Answer(rawValue: bytes[1]) ?? .unknown
  }
}

/// Messages as their bytes.
private struct PlainBytes: MessageSerializer, MessageDeserializer {
  func serialize<Bytes: GRPCContiguousBytes>(_ message: [UInt8]) throws -> Bytes { Bytes(message) }

  func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> [UInt8] {
    bytes.withUnsafeBytes { Array($0) }
  }
}
