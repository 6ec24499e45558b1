package import KubeModel

/// What a Service needs to know of a pod.
package struct ServiceBackend: Hashable, Sendable {
  package var namespace: String
  package var name: String
  package var labels: [String: String]
  package var addresses: [String]
  package var isReady: Bool
  /// Named ports of its containers, by protocol and name: `TCP/http`.
  package var namedPorts: [String: Int32]
}

/// How a Service stands after it was put into the dataplane.
package struct ServiceReport: Hashable, Sendable {
  package struct Port: Hashable, Sendable {
    package var name: String
    package var transport: String
    package var port: Int32
    /// As `10.1.0.5:8080`.
    package var endpoints: [String]

    package init(name: String, transport: String, port: Int32, endpoints: [String]) {
      (self.name, self.transport, self.port, self.endpoints) = (name, transport, port, endpoints)
    }
  }
  package var namespace: String
  package var name: String
  package var clusterIPs: [String]
  package var ports: [Port]
  /// Why it is not in the dataplane; empty where it is.
  package var problem: String

  package init(namespace: String, name: String, clusterIPs: [String], ports: [Port], problem: String = "") {
    (self.namespace, self.name, self.clusterIPs, self.ports, self.problem) = (
      namespace, name, clusterIPs, ports, problem
    )
  }
}

/// Puts Services into the kernel and says how they stand; returns when it is done.
package typealias ServiceSync =
  @Sendable (_ services: [Placed<Service>], _ backends: [ServiceBackend]) async -> [ServiceReport]
