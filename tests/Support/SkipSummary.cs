using Microsoft.Testing.Platform.Builder;
using Microsoft.Testing.Platform.Extensions;
using Microsoft.Testing.Platform.Extensions.Messages;
using Microsoft.Testing.Platform.Extensions.TestHost;
using Microsoft.Testing.Platform.Messages;
using Microsoft.Testing.Platform.Services;

namespace AfaNative.Tests.Support;

/// <summary>
/// Says at the end of <c>dotnet test</c> how many tests were skipped for which reason. It shows nothing but outcomes of tests
/// when all is well, so this is the outcome of one more, which is skipped itself.
/// </summary>
public sealed class SkipSummary(IMessageBus messages) : IDataConsumer, IDataProducer, ITestSessionLifetimeHandler
{
    private readonly Dictionary<string, int> _reasons = [];

    public string Uid => nameof(SkipSummary);

    public string Version => "1.0.0";

    public string DisplayName => "What was skipped and why";

    public string Description => "Counts skipped tests by reason.";

    public Type[] DataTypesConsumed => [typeof(TestNodeUpdateMessage)];

    public Type[] DataTypesProduced => [typeof(TestNodeUpdateMessage)];

    /// <summary>Called by the generated entry point, as the project file asks.</summary>
    public static void AddExtensions(ITestApplicationBuilder builder, string[] arguments)
    {
        var factory = new CompositeExtensionFactory<SkipSummary>(services => new SkipSummary(services.GetMessageBus()));
        builder.TestHost.AddDataConsumer(factory);
        builder.TestHost.AddTestSessionLifetimeHandler(factory);
    }

    public Task<bool> IsEnabledAsync() => Task.FromResult(true);

    public Task ConsumeAsync(IDataProducer dataProducer, IData value, CancellationToken cancellationToken)
    {
        TestNode test = ((TestNodeUpdateMessage)value).TestNode;
        if (test.Uid != Uid && test.Properties.SingleOrDefault<SkippedTestNodeStateProperty>() is { } skipped)
        {
            string reason = (skipped.Explanation ?? "no reason given").ReplaceLineEndings(" ");
            _reasons[reason] = _reasons.GetValueOrDefault(reason) + 1;
        }

        return Task.CompletedTask;
    }

    public Task OnTestSessionStartingAsync(ITestSessionContext testSessionContext) => Task.CompletedTask;

    public async Task OnTestSessionFinishingAsync(ITestSessionContext testSessionContext)
    {
        if (_reasons.Count == 0)
            return;
        string text = string.Join('\n', _reasons.OrderByDescending(r => r.Value).Select(r => $"{r.Value} x {r.Key}"));
        var test = new TestNode
        {
            Uid = Uid,
            DisplayName = $"in all {_reasons.Values.Sum()}, by reason",
            Properties = new PropertyBag(new SkippedTestNodeStateProperty(text)),
        };
        await messages.PublishAsync(this, new TestNodeUpdateMessage(testSessionContext.SessionUid, test));
    }
}
