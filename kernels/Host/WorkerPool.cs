namespace AfaNative.Kernels.Host;

/// <summary>
/// A fixed set of threads that live as long as the device: an op hands over numbered tasks, every thread (the caller included)
/// takes the next free number until none is left. Which thread runs a task never changes its result. Any thread may call
/// <see cref="Run"/>: runs take turns.
/// </summary>
public sealed class WorkerPool : IDisposable
{
    /// <summary>A task's body: its number and the worker's number, 0 being the calling thread.</summary>
    public delegate void Body(int task, int worker);

    // The pool that this thread runs a task of.
    [ThreadStatic]
    private static WorkerPool? t_current;

    private readonly Lock _turn = new();
    private readonly Thread[] _threads;
    private readonly SemaphoreSlim[] _wake;
    private readonly Scratch[] _scratch;
    private Body? _body;
    private int _count,
        _next,
        _running;
    private volatile bool _stop;
    private Exception? _error;

    /// <summary>Starts <paramref name="threads"/> - 1 workers.</summary>
    public WorkerPool(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        _threads = new Thread[threads - 1];
        _wake = new SemaphoreSlim[threads - 1];
        _scratch = new Scratch[threads];
        for (int i = 0; i < threads; i++)
            _scratch[i] = new Scratch();
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;
            _wake[i] = new SemaphoreSlim(0);
            _threads[i] = new Thread(() => Loop(worker)) { IsBackground = true, Name = $"afa-worker-{worker}" };
            _threads[i].Start();
        }
    }

    /// <summary>Number of threads, the caller's included.</summary>
    public int Threads => _threads.Length + 1;

    /// <summary>Working memory of a worker, for use inside a task.</summary>
    public Scratch Scratch(int worker) => _scratch[worker];

    /// <summary>
    /// Runs tasks 0..count-1 and returns when all are done; rethrows the first failure. Where another thread's run is under way,
    /// it waits for that one's end: workers and their <see cref="Scratch"/> belong to one run at a time.
    /// </summary>
    /// <exception cref="InvalidOperationException">
    /// A task failed on a worker thread, or the caller is itself a task of this pool: its run would wait for its own end.
    /// </exception>
    public void Run(int count, Body body)
    {
        if (ReferenceEquals(t_current, this) || _turn.IsHeldByCurrentThread)
            throw new InvalidOperationException("A task of a worker pool cannot start another run on the same pool.");
        lock (_turn)
        {
            ObjectDisposedException.ThrowIf(_stop, this);
            WorkerPool? outer = t_current;
            t_current = this;
            try
            {
                RunInTurn(count, body);
            }
            finally
            {
                t_current = outer;
            }
        }
    }

    private void RunInTurn(int count, Body body)
    {
        if (count <= 1 || _threads.Length == 0)
        {
            for (int i = 0; i < count; i++)
                body(i, 0);
            return;
        }

        _body = body;
        _count = count;
        _next = 0;
        _error = null;
        Volatile.Write(ref _running, _threads.Length);
        foreach (SemaphoreSlim wake in _wake)
            wake.Release();
        Drain(0);
        var spin = new SpinWait();
        while (Volatile.Read(ref _running) != 0)
            spin.SpinOnce(sleep1Threshold: -1);
        _body = null;
        if (_error is { } error)
            throw new InvalidOperationException("A kernel failed on a worker thread: " + error.Message, error);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stop = true;
        foreach (SemaphoreSlim wake in _wake)
            wake.Release();
        foreach (Thread thread in _threads)
            thread.Join();
        foreach (SemaphoreSlim wake in _wake)
            wake.Dispose();
        foreach (Scratch scratch in _scratch)
            scratch.Dispose();
    }

    private void Loop(int worker)
    {
        t_current = this;
        while (true)
        {
            // SemaphoreSlim spins briefly before it blocks: ops follow each other within microseconds.
            _wake[worker - 1].Wait();
            if (_stop)
                return;
            Drain(worker);
            Interlocked.Decrement(ref _running);
        }
    }

    private void Drain(int worker)
    {
        try
        {
            Body body = _body!;
            int task;
            while ((task = Interlocked.Increment(ref _next) - 1) < _count)
                body(task, worker);
        }
        catch (Exception e) when (worker != 0 || _threads.Length > 0)
        {
            Interlocked.CompareExchange(ref _error, e, null);
            Volatile.Write(ref _next, _count);
        }
    }
}
