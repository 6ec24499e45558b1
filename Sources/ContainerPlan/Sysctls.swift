/// Kernel parameters that belong to a pod's own namespaces: the only ones a pod may set (CVE-2022-0811).
package enum Sysctls {
  private static let ipcNames: Set<String> = [
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
    "kernel.shmmni", "kernel.shm_rmid_forced",
  ]
  private static let valueBytesMax = 4096

  /// The file below /proc/sys that a parameter is.
  /// - Parameter name: with dots, or with slashes where a component has a dot of its own ("net/ipv4/conf/eth0.1/…").
  /// - Throws: `PlanError` for names and values that are malformed, or of the host and not of the namespaces given.
  package static func path(
    name: String, value: String, hasOwnIPC: Bool, hasOwnNetwork: Bool
  ) throws(PlanError) -> String {
    let field = "sysctl \(name)"
    let usesSlashes = name.first { $0 == "." || $0 == "/" } == "/"
    let components = name.split(separator: usesSlashes ? "/" : ".", omittingEmptySubsequences: false)
      .map { usesSlashes ? String($0) : String($0.replacing("/", with: ".")) }
    let isPlain = components.count > 1 && components.allSatisfy { isComponent($0) }
    guard isPlain, name.utf8.count < 200 else { throw PlanError(field, "not the name of a kernel parameter") }
    let isTextual = value.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f || $0 == 0x09 }
    guard isTextual, !value.isEmpty, value.utf8.count < valueBytesMax else {
      throw PlanError(field, "its value must be one line of printable characters")
    }
    let dotted = components.joined(separator: ".")
    if components[0] == "net" {
      guard hasOwnNetwork else { throw PlanError(field, "not allowed in the host's network namespace") }
    } else if ipcNames.contains(dotted) || (components[0] == "fs" && components[1] == "mqueue") {
      guard hasOwnIPC else { throw PlanError(field, "not allowed in the host's IPC namespace") }
    } else {
      throw PlanError(field, "not a parameter of a namespace: it would change the whole node")
    }
    return components.joined(separator: "/")
  }

  private static func isComponent(_ text: String) -> Bool {
    guard !text.isEmpty, text != ".", text != ".." else { return false }
    return text.utf8.allSatisfy { byte in
      (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte)
        || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
        || byte == UInt8(ascii: "@") || byte == UInt8(ascii: ":")
    }
  }
}
