package import Kernel

extension Dataplane {
  /// Makes the policies in force be `desired`, in one transaction; the difference to what was applied last is sent.
  @discardableResult
  package func apply(_ desired: PolicyTable) throws(DataplaneError) -> Applied {
    throw DataplaneError(stage: "apply policies", detail: "not programmed yet")
  }

  /// The node's addresses at which node ports stand, both families.
  @discardableResult
  package func setNodePortAddresses(_ addresses: [IPAddress]) throws(DataplaneError) -> Applied {
    throw DataplaneError(stage: "set node-port addresses", detail: "not programmed yet")
  }

  /// Reads the kernel's table and compares it with what was applied. Linear in the table. Changes nothing.
  package func verify() throws(DataplaneError) -> Verification {
    throw DataplaneError(stage: "verify", detail: "not programmed yet")
  }

  /// Watches the kernel's notices until cancelled: what another program changes in our table is mended, and told.
  nonisolated package func watch(_ report: @escaping @Sendable (OwnershipEvent) -> Void) async throws(DataplaneError) {
    throw DataplaneError(stage: "watch", detail: "not programmed yet")
  }
}

extension DataplaneDump {
  /// Reads the table of the calling thread's network namespace; nil where there is none.
  package static func read() throws(DataplaneError) -> DataplaneDump? {
    throw DataplaneError(stage: "read", detail: "not programmed yet")
  }
}
