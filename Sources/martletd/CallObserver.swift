internal import GRPCCore
internal import Kernel
internal import Metrics

/// Counts and times every call, and lets what is logged on its way carry the caller's trace.
struct CallObserver: ServerInterceptor {
  let book: CallBook

  @concurrent func intercept<Input: Sendable, Output: Sendable>(
    request: StreamingServerRequest<Input>, context: ServerContext,
    next:
      @concurrent @Sendable (StreamingServerRequest<Input>, ServerContext) async throws ->
      StreamingServerResponse<Output>
  ) async throws -> StreamingServerResponse<Output> {
    let method = CallBook.Method(
      service: context.descriptor.service.fullyQualifiedService, name: context.descriptor.method)
    let start = SystemClock.bootNanoseconds
    let trace = request.metadata[stringValues: "traceparent"].first { _ in true }.flatMap { TraceParent($0) }
    let book = book
    book.started(method)
    @Sendable func ended(_ error: (any Error)?) {
      book.ended(
        method, code: Self.code(error), seconds: Double(SystemClock.bootNanoseconds - start) / 1_000_000_000)
    }
    var response: StreamingServerResponse<Output>
    do {
      response = try await TraceParent.$current.withValue(trace) { try await next(request, context) }
    } catch {
      ended(error)
      throw error
    }
    switch response.accepted {
    case .failure(let error): ended(error)
    case .success(var contents):
      // A call ends when its last message is written, which is after this returns.
      let produce = contents.producer
      contents.producer = { writer in
        do {
          let metadata = try await TraceParent.$current.withValue(trace) { try await produce(writer) }
          ended(nil)
          return metadata
        } catch {
          ended(error)
          throw error
        }
      }
      response.accepted = .success(contents)
    }
    return response
  }

  /// gRPC's names of its codes, by their numbers.
  private static let names = [
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal",
    "Unavailable", "DataLoss", "Unauthenticated",
  ]

  private static func code(_ error: (any Error)?) -> String {
    switch error {
    case nil: return names[0]
    case let error as RPCError:
      return names.indices.contains(error.code.rawValue) ? names[error.code.rawValue] : names[2]
    case is CancellationError: return names[1]
    default: return names[2]
    }
  }
}
