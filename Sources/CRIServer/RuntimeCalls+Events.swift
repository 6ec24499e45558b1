internal import CRIModel
internal import GRPCCore
internal import Kernel
internal import PodRuntime

extension RuntimeCalls {
  /// Follows the runtime until the client leaves or the daemon ends. A client that falls behind by `EventBook.eventsMax` is
  /// told so and ends: it has to list. The statuses in each event are those of the moment it is sent.
  func getContainerEvents(
    request: CRIGetEventsRequest, response: RPCWriter<CRIContainerEventResponse>, context: ServerContext
  ) async throws {
    let subscription = events.follow()
    // gRPC tells of a client that left by this handle, and never cancels the task.
    let failure: (any Error)? = await withRPCCancellationHandler {
      do {
        for await event in subscription.events { try await response.write(message(event)) }
        return nil
      } catch {
        return error
      }
    } onCancelRPC: {
      _ = events.leave(subscription)
    }
    let wasBehind = events.leave(subscription)
    if let failure { throw failure }
    if wasBehind {
      throw RPCError(
        code: .resourceExhausted,
        message: "GetContainerEvents: fell \(EventBook.eventsMax) events behind; list, then follow again")
    }
    if events.isClosed {
      throw RPCError(code: .unavailable, message: "GetContainerEvents: the daemon ends; connect again")
    }
  }

  private func message(_ event: BookedEvent) -> CRIContainerEventResponse {
    var message = CRIContainerEventResponse()
    message.containerID = event.containerID
    message.createdAt = event.at
    message.containerEventType =
      switch event.kind {
      case .created: .containerCreatedEvent
      case .started: .containerStartedEvent
      case .stopped: .containerStoppedEvent
      case .removed: .containerDeletedEvent
      }
    if let snapshot = runtime.sandbox(event.sandboxID) {
      message.podSandboxStatus = StatusMessages.sandboxStatus(snapshot)
      message.containersStatuses = statuses(of: snapshot.id)
    }
    return message
  }
}
