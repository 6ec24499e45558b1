internal import JSON
internal import Kernel

/// What a pod holds, as it is kept on disk from before the kernel hears of it until after it is gone there.
struct NetworkRecord: Sendable, Hashable {
  static let version: Int64 = 1
  static let bytesMax = 1 << 20

  var sandboxID: String
  var slot: Int
  var ipv4: IPAddress?
  var ipv6: IPAddress?
  var hostLink: String
  var hostPorts: [HostPort]

  var addresses: [IPAddress] { [ipv4, ipv6].compactMap { $0 } }

  func encoded() -> [UInt8] {
    var object: JSONObject = [
      "version": .integer(Self.version), "sandbox": .string(sandboxID), "slot": .integer(Int64(slot)),
      "hostLink": .string(hostLink),
    ]
    if let ipv4 { object["ipv4"] = .string(ipv4.description) }
    if let ipv6 { object["ipv6"] = .string(ipv6.description) }
    object["hostPorts"] = .array(
      hostPorts.map { port in
        var value: JSONObject = [
          "protocol": .string(port.transport.description), "hostPort": .integer(Int64(port.hostPort)),
          "containerPort": .integer(Int64(port.containerPort)),
        ]
        if let hostIP = port.hostIP { value["hostIP"] = .string(hostIP.description) }
        return .object(value)
      })
    return JSONValue.object(object).encoded(pretty: true) + [UInt8(ascii: "\n")]
  }

  /// Why a record cannot be used.
  struct Damage: Error, CustomStringConvertible {
    var description: String
  }

  static func parse(_ bytes: [UInt8]) throws(Damage) -> NetworkRecord {
    let value: JSONValue
    do throws(JSONError) {
      value = try JSONValue.parse(bytes, limits: JSONLimits(maxBytes: bytesMax, maxDepth: 8))
    } catch {
      throw Damage(description: error.description)
    }
    guard value["version"]?.integer == version else { throw Damage(description: "not of version \(version)") }
    guard let sandboxID = value["sandbox"]?.string, let hostLink = value["hostLink"]?.string,
      let slot = value["slot"]?.integer.flatMap({ Int(exactly: $0) })
    else { throw Damage(description: "sandbox, slot or hostLink is missing") }
    var record = NetworkRecord(
      sandboxID: sandboxID, slot: slot, ipv4: nil, ipv6: nil, hostLink: hostLink, hostPorts: [])
    record.ipv4 = try address(value["ipv4"], "ipv4")
    record.ipv6 = try address(value["ipv6"], "ipv6")
    for entry in value["hostPorts"]?.array ?? [] { record.hostPorts.append(try port(entry)) }
    return record
  }

  private static func address(_ value: JSONValue?, _ field: String) throws(Damage) -> IPAddress? {
    guard let value else { return nil }
    guard let address = value.string.flatMap({ IPAddress($0) }) else {
      throw Damage(description: "\(field) is no address")
    }
    return address
  }

  private static func port(_ value: JSONValue) throws(Damage) -> HostPort {
    guard let transport = TransportProtocol.allCases.first(where: { $0.description == value["protocol"]?.string }),
      let hostPort = value["hostPort"]?.integer.flatMap({ UInt16(exactly: $0) }),
      let containerPort = value["containerPort"]?.integer.flatMap({ UInt16(exactly: $0) })
    else { throw Damage(description: "a host port is incomplete") }
    return HostPort(
      transport: transport, hostIP: try address(value["hostIP"], "hostIP"), hostPort: hostPort,
      containerPort: containerPort)
  }
}
