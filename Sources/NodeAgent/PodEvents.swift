/// How a container ended.
package struct ContainerExit: Hashable, Sendable {
  package var id: String
  package var attempt: UInt32
  package var code: Int32
  /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`…
  package var reason: String
  package var message: String
  /// Nanoseconds since 1970; 0 where it never ran.
  package var startedAt: Int64
  package var finishedAt: Int64

  package init(
    id: String, attempt: UInt32, code: Int32, reason: String = "", message: String = "", startedAt: Int64 = 0,
    finishedAt: Int64 = 0
  ) {
    (self.id, self.attempt, self.code) = (id, attempt, code)
    self.reason = reason.isEmpty ? (code == 0 ? "Completed" : "Error") : reason
    (self.message, self.startedAt, self.finishedAt) = (message, startedAt, finishedAt)
  }
}

/// What happened to a pod, as its machine hears of it. Late events, and observations that are
/// repeated, are legal and change nothing.
package enum PodEvent: Hashable, Sendable {
  /// Time has passed.
  case tick
  case volumesMade
  case volumesFailed(reason: String, message: String)
  case sandboxMade(id: String, addresses: [String])
  case sandboxFailed(message: String)
  /// The sandbox does not run any more, though nobody here stopped it.
  case sandboxDied(id: String)
  case sandboxCleared
  case sandboxHalted
  /// `image`: as the runtime calls it.
  case imageReady(container: String, image: String = "")
  case imageFailed(container: String, reason: String, message: String)
  case started(container: String, id: String, attempt: UInt32, at: Int64)
  /// `id`: of a container that was made but did not start.
  case startFailed(container: String, attempt: UInt32, id: String?, reason: String, message: String)
  case exited(container: String, ContainerExit)
  case stopFailed(container: String, id: String, message: String)
  case probed(container: String, id: String, ProbeKind, success: Bool, message: String)
  /// A ConfigMap, Secret or Service of its namespace is another than before: what waited for one is tried at once.
  case contentChanged
  /// The pod asks for another image than before: what was made from the old one is replaced.
  case imageChanged(container: String, image: String)
  /// What runs was made with other resources than the pod asks for: it makes room for another run.
  case outdated(container: String)
  /// Somebody looks into the pod with a container more.
  case containerAdded(ContainerRule)
  /// No Service leads to this pod any more.
  case withdrawn
  case deletionRequested(graceSeconds: Int64?)
  /// The pod must stop and stays as failed.
  ///
  /// - graceSeconds: nil: as many as the pod has.
  case failed(reason: String, message: String, graceSeconds: Int64? = nil)
  /// What a pod that is over still holds goes.
  case spaceNeeded
  case volumesDropped
  case tornDown
  case teardownFailed(message: String)
}

/// What is to be done for a pod. Each is answered by an event, however it ends.
package enum PodAction: Hashable, Sendable {
  case makeVolumes
  case makeSandbox(attempt: UInt32)
  /// Stops and removes a dead sandbox with its containers, so that another can be made.
  case clearSandbox(id: String)
  /// Stops a sandbox whose containers have all ended for good.
  case haltSandbox(id: String)
  case pull(container: String)
  /// Needs no answer.
  case cancelPull(container: String)
  case start(container: String, attempt: UInt32)
  case stop(container: String, id: String, graceSeconds: Int64)
  case probe(container: String, id: String, ProbeKind)
  /// Removes an ended instance with its log. Needs no answer.
  case forget(container: String, id: String, attempt: UInt32)
  /// Removes the volumes of a pod that is over and shall free what it holds.
  case dropVolumes
  /// Takes the pod out of every Service, then says so.
  case withdraw
  /// Removes sandbox, containers, volumes and logs.
  case tearDown
}
